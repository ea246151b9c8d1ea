"""What a projection is trained for: paired media and captions nearer than all others of the batch."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.projection.heads import NORM_EPSILON, ProjectionShape
from encoders.training.linear_maps import LinearMap
from encoders.training.losses import contrastive
from encoders.training.objective import MAX_SCALE

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Media and their captions: row i belongs to row i."""

    media: Tensor  # (n, media width)
    texts: Tensor  # (n, text width)
    forbidden: Tensor  # pairs of other rows that belong together too, so no negatives, bool, (n, n)


class HeadModule(nn.Module):
    """One side, as `encoders.projection.heads.Head` says, with its dropout."""

    def __init__(self, width: int, shape: ProjectionShape, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, shape.dims)
        self.drop = nn.Dropout(dropout)
        self.has_hidden = shape.hidden > 0
        if self.has_hidden:
            self.hidden = nn.Linear(width, shape.hidden)
            self.norm = nn.LayerNorm(shape.hidden, eps=NORM_EPSILON)
            self.out = nn.Linear(shape.hidden, shape.dims, bias=False)
            nn.init.zeros_(self.out.weight)  # so that it starts as the linear map

    def forward(self, vectors: Tensor) -> Tensor:
        """Project what the kernel or the backbone gives, shape (n, width) -> (n, dims), unit rows."""
        projected = self.linear(vectors)
        if self.has_hidden:
            projected = projected + self.out(self.drop(self.norm(self.hidden(vectors)).relu()))
        return nn.functional.normalize(projected, dim=1)


class ProjectionObjective(nn.Module):
    """Two sides and a temperature. Called with a batch, it returns the loss: InfoNCE, both ways."""

    def __init__(
        self, shape: ProjectionShape, *, dropout: float, noise: float, temperature: float, centre: Floats
    ) -> None:
        super().__init__()
        self.shape = shape
        self.media = HeadModule(shape.media.read_width, shape, dropout)
        self.text = HeadModule(shape.text.read_width, shape, dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.noise = noise
        self.drop = nn.Dropout(dropout)
        self.centre: Tensor
        self.register_buffer("centre", torch.from_numpy(centre), persistent=False)

    def start_at(self, media: LinearMap, text: LinearMap) -> None:
        """Take linear maps as the beginning."""
        with torch.no_grad():
            for side, told in ((self.media, media), (self.text, text)):
                side.linear.weight.copy_(torch.from_numpy(told.weight))
                side.linear.bias.copy_(torch.from_numpy(told.bias))

    def forward(self, batch: PairBatch) -> Tensor:
        """Return the loss of a batch."""
        # Dropped features become the mean, not zero, so that what is left still means the same.
        media = self.centre + self.drop(batch.media - self.centre)
        scores = self.media(self._noisy(media)) @ self.text(self._noisy(batch.texts)).T
        scale = self.log_scale.exp().clamp(max=MAX_SCALE)
        targets = torch.arange(len(scores))
        forth = contrastive(scores, targets, batch.forbidden, scale)
        back = contrastive(scores.T, targets, batch.forbidden.T, scale)
        return (forth + back) / 2

    def _noisy(self, vectors: Tensor) -> Tensor:
        if not (self.training and self.noise):
            return vectors
        return vectors + self.noise / math.sqrt(vectors.shape[1]) * torch.randn_like(vectors)

    def tensors(self) -> dict[str, Floats]:
        """Return what `ProjectionShape.tensors` names, but for the kernels."""
        return {
            name: tensor.detach().numpy()
            for name, tensor in self.state_dict().items()
            if name.startswith(("media.", "text."))
        }


@dataclass(frozen=True, slots=True)
class PairBatches:
    """Every pair once an epoch, in an order drawn for it. Implements `encoders.training.loop.Batches`."""

    media: Floats  # (n, media width)
    texts: Floats  # of the distinct captions, (captions, text width)
    caption_of: Rows  # (n,)
    groups: Rows  # (n,): pairs of one group are no negatives of each other
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return max(1, round(len(self.media) / self.batch_size))

    def epoch(self, number: int) -> Iterator[PairBatch]:
        """Make the batches of an epoch, from 1."""
        order = np.random.default_rng((self.seed, number)).permutation(len(self.media))
        for rows in np.array_split(order, self.steps_per_epoch):
            groups = torch.from_numpy(self.groups[rows])
            same = groups[:, None] == groups[None]
            yield PairBatch(
                torch.from_numpy(self.media[rows]),
                torch.from_numpy(self.texts[self.caption_of[rows]]),
                same & ~torch.eye(len(rows), dtype=torch.bool),
            )


def means(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return what an epoch tells: the mean of both directions."""
    return {
        name: (metrics[f"text_to_media.{name}"] + metrics[f"media_to_text.{name}"]) / 2
        for name in ("MRR", "Recall@10")
    }
