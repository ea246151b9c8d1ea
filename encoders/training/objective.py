"""What a two-tower is trained for: a batch in, a loss out."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from encoders.training.distributed import gather, own_slice
from encoders.training.losses import LossKind, contrastive, margin_contrastive, triplet
from encoders.two_tower.architecture import Side
from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.towers import Texts, TwoTower

MAX_SCALE = 100.0  # a temperature of 0.01, as in CLIP


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Queries and candidate items, with which is right for which."""

    queries: RaggedTexts
    items: RaggedTexts
    targets: Tensor  # the right item of each query, int64, shape (queries,)
    forbidden: Tensor  # items that are right too, bool, shape (queries, items)
    both_ways: bool = False  # item i belongs to query i and no other: learn items -> queries too


class TwoTowerObjective(nn.Module):
    """A two-tower with its loss and its temperature."""

    whole_batch_parameters = ("log_scale",)
    sparse_parameters = ("towers.table",)

    def __init__(
        self, towers: TwoTower, loss: LossKind, *, temperature: float, learn_temperature: bool, margin: float
    ) -> None:
        super().__init__()
        self.towers = towers
        self.loss = loss
        self.margin = margin
        self.log_scale = nn.Parameter(
            torch.tensor(math.log(1 / temperature)),
            requires_grad=learn_temperature and loss == "contrastive",
        )
        self.rate_scales = {"towers.query.": 0.3, "towers.item.": 0.3}

    def forward(self, batch: PairBatch) -> Tensor:
        """Return the loss of the whole batch, of which this process encodes its slice."""
        scores = self._encode("query", batch.queries) @ self._encode("item", batch.items).T
        loss = self._loss(scores, batch.targets, batch.forbidden)
        if batch.both_ways:
            loss = (loss + self._loss(scores.T, batch.targets, batch.forbidden.T)) / 2
        return loss

    def _encode(self, side: Side, texts: RaggedTexts) -> Tensor:
        own = texts.take(own_slice(len(texts)))
        if len(own) == 0:
            vectors = self.towers.table.new_zeros(0, self.towers.shape.dims)
        else:
            vectors = self.towers.encode(side, Texts.of(own))
        return gather(vectors, len(texts))

    def _loss(self, scores: Tensor, targets: Tensor, forbidden: Tensor) -> Tensor:
        if self.loss == "contrastive":
            return contrastive(scores, targets, forbidden, self.log_scale.exp().clamp(max=MAX_SCALE))
        if self.loss == "triplet":
            return triplet(scores, targets, forbidden, self.margin)
        return margin_contrastive(scores, targets, forbidden, self.margin)
