"""What a layer fusion learns from: batches of items with what belongs together, and their losses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.layer_fusion.network import FusionNetwork
from encoders.training.relations import Relations, Rows

FusionLoss: TypeAlias = Literal["triplet", "infonce"]
Floats = NDArray[np.float32]

HARDEST = 10  # a mined negative is drawn among so many nearest; always the nearest one is often a wrong label


@dataclass(frozen=True, slots=True)
class FusionBatch:
    """Items, and which of them belong together."""

    features: Tensor  # (n, layers, width)
    together: Tensor  # bool (n, n); of different groups only
    apart: Tensor  # bool (n, n)


@dataclass(frozen=True, slots=True)
class FusionBatches:
    """Anchors, to each an item that belongs to it and, mined, one that seems to and does not.

    Anchors are drawn so that rare labels come as often as the square root of their size asks.
    """

    features: Floats  # of all items
    items: Rows  # those to learn from
    relations: Relations
    groups: Rows
    size: int  # anchors of a batch
    mined: bool
    seed: int
    embed: Callable[[Floats], Floats]  # as the network is now
    _anchors: Rows = field(init=False)
    _shares: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        """List the items that have a positive."""
        positive = self._positive(self.items)
        anchors = self.items[positive.any(axis=1)]
        _, place, counts = np.unique(self.relations.labels[anchors], return_inverse=True, return_counts=True)
        shares = 1 / np.sqrt(counts[place])
        object.__setattr__(self, "_anchors", anchors)
        object.__setattr__(self, "_shares", shares / shares.sum())

    @property
    def steps_per_epoch(self) -> int:
        """As `Batches` says."""
        return -(-len(self._anchors) // self.size)

    def epoch(self, number: int) -> Iterator[FusionBatch]:
        """Make the batches of an epoch; with mining, they follow from the network as it is then."""
        random = np.random.default_rng([self.seed, number])
        vectors = self.embed(self.features[self.items]) if self.mined else None
        for _ in range(self.steps_per_epoch):
            size = min(self.size, len(self._anchors))
            anchors = random.choice(self._anchors, size, replace=False, p=self._shares)
            chosen = [anchors, self._drawn(self._positive(anchors), random)]
            if vectors is not None:
                chosen.append(self._drawn(self._confused(anchors, vectors), random))
            yield self._batch(np.unique(np.concatenate(chosen)))

    def _positive(self, rows: Rows) -> NDArray[np.bool_]:
        others = self.groups[rows][:, None] != self.groups[self.items][None]
        return np.asarray(self.relations.together(rows, self.items) & others)

    def _confused(self, anchors: Rows, vectors: Floats) -> NDArray[np.bool_]:
        """Mark the negatives that the network finds nearest to each anchor, shape (anchors, items)."""
        places = np.searchsorted(self.items, anchors)
        apart = self.relations.apart(anchors, self.items)
        scores = np.where(apart, vectors[places] @ vectors.T, -np.inf)
        kept = min(HARDEST, scores.shape[1])
        nearest = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        mask = np.zeros_like(apart)
        np.put_along_axis(mask, nearest, True, axis=1)
        return np.asarray(mask & apart)

    def _drawn(self, mask: NDArray[np.bool_], random: np.random.Generator) -> Rows:
        """Draw one marked item a row, where there is one."""
        drawn = (random.random(mask.shape) * mask).argmax(axis=1)
        return np.asarray(self.items[drawn[mask.any(axis=1)]])

    def _batch(self, items: Rows) -> FusionBatch:
        others = self.groups[items][:, None] != self.groups[items][None]
        together = self.relations.together(items, items) & others
        apart = self.relations.apart(items, items)
        return FusionBatch(
            torch.from_numpy(self.features[items]), torch.from_numpy(together), torch.from_numpy(apart)
        )


class FusionObjective(nn.Module):
    """A network and its loss."""

    def __init__(
        self,
        network: FusionNetwork,
        *,
        loss: FusionLoss,
        margin: float,
        temperature: float,
        dropout: float,
    ) -> None:
        """Take a network to train."""
        super().__init__()
        self.network, self._loss, self._dropout = network, loss, dropout
        self._margin, self._temperature = margin, temperature

    def forward(self, batch: FusionBatch) -> Tensor:
        """Return the loss of a batch."""
        vectors = self.network(batch.features, self._dropout)
        scores = vectors @ vectors.T
        if self._loss == "triplet":
            return triplet(scores, batch.together, batch.apart, self._margin)
        return infonce(scores / self._temperature, batch.together, batch.apart)


def infonce(scores: Tensor, together: Tensor, apart: Tensor) -> Tensor:
    """Ask for each pair that belongs together that it stands out from what is apart from its anchor.

    Args:
        scores: cosines by temperature, shape (n, n).
        together: bool (n, n).
        apart: bool (n, n).

    Source: InfoNCE (arXiv:1807.03748) with several positives, as in "out" of Khosla et al. 2020
    (arXiv:2004.11362), except that other positives do not count as negatives.
    """
    negatives = scores.masked_fill(~apart, float("-inf")).logsumexp(dim=1, keepdim=True)
    losses = nn.functional.softplus(negatives - scores)
    return _mean_by_anchor(losses, together & apart.any(dim=1, keepdim=True))


def triplet(scores: Tensor, together: Tensor, apart: Tensor, margin: float) -> Tensor:
    """Ask that each pair that belongs together beats what is apart from its anchor by a margin.

    Shapes as in `infonce`. The mean is over the triplets that fail.

    Source: "batch all" of Hermans, Beyer, Leibe 2017 (arXiv:1703.07737).
    """
    violations = (margin - scores[:, :, None] + scores[:, None, :]).clamp_min(
        0
    )  # (anchor, positive, negative)
    violations = violations * (together[:, :, None] & apart[:, None, :])
    return violations.sum() / (violations > 0).sum().clamp_min(1)


def _mean_by_anchor(losses: Tensor, mask: Tensor) -> Tensor:
    by_anchor = (losses.masked_fill(~mask, 0)).sum(dim=1) / mask.sum(dim=1).clamp_min(1)
    return by_anchor.sum() / mask.any(dim=1).sum().clamp_min(1)
