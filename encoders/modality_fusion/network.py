"""The network that is trained; `fusing.py` serves it."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.modality_fusion.architecture import NORM_EPSILON, ModalityFusionShape


class Part(nn.Module):
    """Maps what one modality's encoder gives, shape (n, width) -> (n, dims)."""

    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, dims)
        self.norm = nn.LayerNorm(dims, eps=NORM_EPSILON)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map and normalise."""
        mapped: Tensor = self.norm(self.linear(vectors))
        return mapped


class ModalityFusionNetwork(nn.Module):
    """Parts in, unit rows out. Its tensors are called as `ModalityFusionShape.tensors` says."""

    def __init__(self, shape: ModalityFusionShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.drop = nn.Dropout(dropout)
        for modality, width in shape.parts:
            self.add_module(modality.value, Part(width, shape.dims))
        count = len(shape.parts)
        if shape.strategy == "concat":
            self.mix = nn.Linear(count * shape.dims, shape.dims, bias=False)
            with torch.no_grad():  # it starts as the sum
                self.mix.weight.copy_(torch.eye(shape.dims).repeat(1, count))
        if shape.strategy == "gated":
            self.gate = nn.Sequential(
                nn.Linear(count * shape.dims + count, shape.gate_hidden),
                nn.ReLU(),
                nn.Linear(shape.gate_hidden, count),
            )
            nn.init.zeros_(self.gate[2].weight)  # type: ignore[arg-type]  # all alike at the start

    def forward(self, vectors: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Fuse.

        Args:
            vectors: by modality, shape (n, width); rows of missing parts may hold anything finite.
            present: bool, shape (n, parts), at least one in a row.

        Returns:
            Unit rows, shape (n, dims).
        """
        parts = [
            self.get_submodule(modality)(self.drop(vectors[modality])) for modality in self.shape.modalities
        ]
        mapped = torch.stack(parts, dim=1).masked_fill(~present[..., None], 0.0)  # (n, parts, dims)
        match self.shape.strategy:
            case "concat":
                fused = self.mix(mapped.flatten(1))
            case "sum":
                fused = mapped.sum(dim=1)
            case "max":
                fused = mapped.masked_fill(~present[..., None], float("-inf")).amax(dim=1)
            case _:
                logits = self.gate(torch.cat([mapped.flatten(1), present.float()], dim=1))
                shares = logits.masked_fill(~present, float("-inf")).softmax(dim=1)
                fused = torch.einsum("np,npd->nd", shares, mapped)
        return nn.functional.normalize(fused, dim=1)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return the tensors by their names."""
        return {name: tensor.detach().numpy() for name, tensor in self.state_dict().items()}
