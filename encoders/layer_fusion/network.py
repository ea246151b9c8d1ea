"""The layer fusion as a torch network, for training; `fusing` computes the same in numpy."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.layer_fusion.architecture import FusionShape

Floats = NDArray[np.float32]
SMALLEST_SCALE = 1e-4  # of a layer that hardly varies
ROWS_FOR_DIRECTIONS = 2000  # more change the principal directions little, and take minutes for `mlp`


class FusionNetwork(nn.Module):
    """Layers in, unit vector out; it starts as the plain average of the standardised layers.

    The attention's last layer and the logits start at zero, so all layers weigh alike, and the head starts as
    the principal directions of their average (of all layers side by side for `mlp`): what is learned is
    learned on top of that.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: FusionShape, features: Floats) -> None:
        """Begin from the training features, shape (n, layers, width)."""
        super().__init__()
        self.shape = shape
        seen = torch.from_numpy(features)
        self.register_buffer("mean", seen.mean(dim=0))
        # One scale a layer, of its root mean square: the proportions within a layer stay as they are.
        spread = (seen - self.mean).square().mean(dim=(0, 2), keepdim=True)[0].sqrt()
        self.register_buffer("scale", spread.clamp_min(SMALLEST_SCALE).expand_as(self.mean).clone())
        if shape.fusion == "attention":
            last = nn.Linear(shape.attention_width, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.attention = nn.Sequential(nn.Linear(shape.width, shape.attention_width), nn.ReLU(), last)
        if shape.fusion == "weights":
            self.logits = nn.Parameter(torch.zeros(shape.layers))
        first = nn.Linear(shape.mixed_width, shape.hidden_width if shape.hidden else shape.dims)
        rest = [nn.ReLU(), nn.Linear(shape.hidden_width, shape.dims)] if shape.hidden else []
        self.head = nn.Sequential(first, *rest)
        self._start_from_principal_directions(first, rest[1] if rest else None, seen)

    @torch.no_grad()
    def _start_from_principal_directions(
        self, first: nn.Linear, last: nn.Module | None, seen: Tensor
    ) -> None:
        """Let the head keep the directions in which the mixture varies most.

        Through a hidden layer each direction goes twice, with either sign: relu(x) - relu(-x) = x.
        """
        mixed = self.mix(seen[:: -(-len(seen) // ROWS_FOR_DIRECTIONS)])
        _, _, directions = torch.linalg.svd(mixed - mixed.mean(dim=0), full_matrices=False)
        room = self.shape.dims if last is None else min(self.shape.dims, self.shape.hidden_width // 2)
        kept = directions[:room]
        first.weight.normal_(std=0.01 / self.shape.mixed_width**0.5)
        first.weight[: len(kept)] = kept
        first.bias.zero_()
        if isinstance(last, nn.Linear):
            first.weight[len(kept) : 2 * len(kept)] = -kept
            last.weight.normal_(std=0.01 / self.shape.hidden_width**0.5)
            last.bias.zero_()
            place = torch.arange(len(kept))
            last.weight[place, place] = 1
            last.weight[place, place + len(kept)] = -1

    def mix(self, features: Tensor) -> Tensor:
        """Mix layers: shape (n, layers, width) to (n, mixed width)."""
        scaled = (features - self.mean) / self.scale
        if self.shape.fusion == "mlp":
            return scaled.flatten(1)
        return torch.einsum("nl,nlw->nw", self.layer_weights(scaled), scaled)

    def layer_weights(self, scaled: Tensor) -> Tensor:
        """Return each layer's share, shape (n, layers), of standardised features."""
        count, layers = scaled.shape[:2]
        if self.shape.fusion == "attention":
            logits: Tensor = self.attention(scaled)[..., 0]  # (n, layers)
            return logits.softmax(dim=1)
        if self.shape.fusion == "weights":
            return self.logits.softmax(dim=0).expand(count, layers)
        if self.shape.fusion == "layer":
            return nn.functional.one_hot(torch.full((count,), self.shape.layer), layers).to(scaled.dtype)
        return scaled.new_full((count, layers), 1 / layers)

    def forward(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        """Fuse features, shape (n, layers, width), into unit rows, shape (n, dims).

        Args:
            features: as the frozen model made them.
            dropout: the share of the mixture that is left out, while training.
        """
        mixed = nn.functional.dropout(self.mix(features), dropout, self.training)
        return nn.functional.normalize(self.head(mixed), dim=1)

    @torch.inference_mode()
    def encode(self, features: Floats) -> Floats:
        """Fuse without learning, shape (n, layers, width) to (n, dims)."""
        self.eval()
        return np.asarray(self(torch.from_numpy(features)).numpy(), np.float32)

    def tensors(self) -> dict[str, Floats]:
        """Return what `FusionShape.tensors` names."""
        return {name: value.detach().numpy().copy() for name, value in self.state_dict().items()}
