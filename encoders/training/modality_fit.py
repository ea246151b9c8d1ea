"""Fitting a modality fusion: InfoNCE, with parts left out, so that what is missing later does no harm."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.modality_fusion.architecture import ModalityFusionShape
from encoders.modality_fusion.network import ModalityFusionNetwork
from encoders.training.checkpoint import CheckpointFile
from encoders.training.events import OnEvent, StageStarted
from encoders.training.loop import train
from encoders.training.losses import contrastive
from encoders.training.modality_config import ModalityFusionConfig
from encoders.training.modality_data import FusionItems, ModalityData, Task
from encoders.training.pairs import Floats, Rows
from encoders.training.similarity import METRICS, Ranked, expected_at_random, metrics_of


@dataclass(frozen=True, slots=True)
class FusionBatch:
    """Queries and an item that is right for each."""

    queries: FusionItems
    items: FusionItems
    forbidden: Tensor  # items that are right too, bool, shape (n, n)


@dataclass(frozen=True, slots=True)
class FusionBatches:
    """Every query once an epoch, with a right item drawn for it. Implements `loop.Batches`."""

    data: ModalityData
    config: ModalityFusionConfig

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return max(1, round(len(self.data.train) / self.config.batch_size))

    def epoch(self, number: int) -> Iterator[FusionBatch]:
        """Make the batches of an epoch, from 1."""
        random = np.random.default_rng((self.config.seed, number))
        order = random.permutation(self.data.train)
        asking = self.data.queries or self.data.items
        for rows in np.array_split(order, self.steps_per_epoch):
            found = np.array([random.choice(np.flatnonzero(self.data.relevant[row])) for row in rows])
            forbidden = self.data.relevant[np.ix_(rows, found)]
            if self.data.queries is None:
                forbidden = forbidden | (rows[:, None] == found[None])
            forbidden[np.arange(len(rows)), np.arange(len(rows))] = False
            yield FusionBatch(
                self._fewer(asking.take(rows), random),
                self._fewer(self.data.items.take(found), random),
                torch.from_numpy(forbidden),
            )

    def _fewer(self, items: FusionItems, random: np.random.Generator) -> FusionItems:
        """Leave all parts but one out of some items."""
        kept = random.random(items.present.shape) * items.present  # the largest is the one to keep
        alone = np.arange(kept.shape[1])[None] == kept.argmax(axis=1)[:, None]
        dropped = random.random(len(kept)) < self.config.drop_parts
        present = np.where(dropped[:, None], alone, items.present)
        return FusionItems(vectors=items.vectors, present=present)


class FusionObjective(nn.Module):
    """A network and its loss: InfoNCE, both ways."""

    def __init__(self, shape: ModalityFusionShape, config: ModalityFusionConfig) -> None:
        super().__init__()
        self.network = ModalityFusionNetwork(shape, config.dropout)
        self.temperature = config.temperature

    def forward(self, batch: FusionBatch) -> Tensor:
        """Return the loss of a batch."""
        scores = self._fused(batch.queries) @ self._fused(batch.items).T
        targets, scale = torch.arange(len(scores)), torch.tensor(1 / self.temperature)
        forth = contrastive(scores, targets, batch.forbidden, scale)
        return (forth + contrastive(scores.T, targets, batch.forbidden.T, scale)) / 2

    def _fused(self, items: FusionItems) -> Tensor:
        vectors = {name: torch.from_numpy(own) for name, own in items.vectors.items()}
        fused: Tensor = self.network(vectors, torch.from_numpy(items.present))
        return fused

    @torch.inference_mode()
    def vectors(self, items: FusionItems) -> Floats:
        """Fuse without dropout, shape (n, dims)."""
        self.eval()
        return np.asarray(self._fused(items).numpy())


@dataclass(slots=True)
class ModalityTraining:
    """What is trained on what, and what comes of it."""

    data: ModalityData
    shape: ModalityFusionShape
    config: ModalityFusionConfig
    work: Path
    on_progress: OnEvent
    curves: dict[str, Any] = field(default_factory=dict)


def fit(training: ModalityTraining) -> ModalityFusionNetwork:
    """Train from the last checkpoint, or from the beginning. Fills `training.curves`.

    Raises:
        EncoderFault: if the training diverged.
    """
    config = training.config
    torch.manual_seed(config.seed)
    objective = FusionObjective(training.shape, config)
    task = training.data.tasks["validation"]

    def measure() -> dict[str, float]:
        return rank_task(objective.vectors(task.queries), objective.vectors(task.items), task).means()

    training.on_progress(StageStarted(stage="fusion", detail=f"{len(training.data.train)} queries"))
    done = train(
        objective,
        FusionBatches(training.data, config),
        config.stage(),
        training.on_progress,
        measure=measure,
        checkpoint=CheckpointFile(training.work / "fusion.pt"),
    )
    training.curves["fusion"] = done.history
    return objective.network


def rank_task(queries: Floats, items: Floats, task: Task) -> Ranked:
    """Rank the candidates of every query of a task. Equal scores are ranked by number."""
    scores = queries @ items.T
    values, chance = np.zeros((2, len(scores), len(METRICS)))
    for row in range(len(scores)):
        candidates = np.flatnonzero(task.candidates[row])
        order = candidates[np.argsort(-scores[row, candidates], kind="stable")]
        values[row] = metrics_of(task.relevant[row, order])
        chance[row] = expected_at_random(int(task.relevant[row].sum()), len(candidates))
    return Ranked(values, chance, np.arange(len(scores)))


def side_by_side(items: FusionItems, parts: Rows) -> Floats:
    """Return the vectors of some parts side by side, as their encoders made them: no training at all."""
    names = list(items.vectors)
    blocks = [items.vectors[names[part]] * items.present[:, part, None] for part in parts]
    together = np.concatenate(blocks, axis=1)
    return np.asarray(together / np.maximum(np.linalg.norm(together, axis=1, keepdims=True), 1e-12))
