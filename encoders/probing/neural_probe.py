"""The neural probe: one network for all targets, on one layer's features."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.probing.folds import Rows, learned_rows
from encoders.probing.ridge import Scaler
from encoders.probing.scores import r_squared
from encoders.training.events import ignore
from encoders.training.loop import train
from encoders.training.optimisation import LoopConfig

HIDDEN, SHARED = 256, 128
DROPOUT = 0.2
BATCH = 64
HELD_OUT = 0.15  # of the groups to learn from: they tell when to stop
CONFIG = LoopConfig(
    stage="probe",
    epochs=100,
    learning_rate=1e-3,
    betas=(0.9, 0.999),
    weight_decay=0.01,
    patience=15,
    watched="R2",
)

Pair = tuple[Tensor, Tensor]


class NeuralProbe(nn.Module):
    """width -> 256 -> 128 -> one head for each target; called with a batch, it returns the loss."""

    def __init__(self, width: int, targets: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, SHARED), nn.ReLU()
        )
        self.heads = nn.Linear(SHARED, targets)  # heads of one layer each are the rows of one matrix

    def predict(self, features: Tensor) -> Tensor:
        """Predict standardised targets, shape (n, targets), of features of shape (n, width)."""
        predicted: Tensor = self.heads(self.shared(features))
        return predicted

    def forward(self, batch: Pair) -> Tensor:
        """Return the mean squared error over rows and targets, which weigh alike: they are standardised."""
        features, targets = batch
        return nn.functional.mse_loss(self.predict(features), targets)


@dataclass(frozen=True, slots=True)
class _Batches:
    features: Tensor
    targets: Tensor
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.features) // BATCH)

    def epoch(self, number: int) -> Iterator[Pair]:
        order = np.random.default_rng([self.seed, number]).permutation(len(self.features))
        for start in range(0, len(order), BATCH):
            rows = torch.from_numpy(order[start : start + BATCH])
            yield self.features[rows], self.targets[rows]


def neural_predictions(
    features: NDArray[np.floating],
    targets: NDArray[np.floating],
    asked: NDArray[np.floating],
    groups: Rows,
    *,
    seed: int,
    config: LoopConfig = CONFIG,
) -> NDArray[np.float64]:
    """Train a probe on rows whose targets are known, and predict those of others.

    It stops when some groups of its own, held out from training, are predicted no better.

    Args:
        features: shape (n, width).
        targets: shape (n, targets).
        asked: shape (m, width).
        groups: the group's number of each known row, shape (n,).
        seed: of weights, dropout, batches and the groups held out.
        config: of the training.

    Returns:
        Shape (m, targets), in the targets' units.
    """
    torch.manual_seed(seed)
    learned = learned_rows(groups, seed, HELD_OUT)
    scale, unit = Scaler.fit(features[learned]), Scaler.fit(targets[learned])
    known, truth = (torch.from_numpy(rows.astype(np.float32)) for rows in (scale(features), unit(targets)))
    probe = NeuralProbe(features.shape[1], targets.shape[1])
    held_out = ~learned

    def measure() -> Mapping[str, float]:
        with torch.no_grad():
            predicted = probe.predict(known[held_out]).numpy()
        return {"R2": float(np.nan_to_num(r_squared(truth[held_out].numpy(), predicted)).mean())}

    train(
        probe,
        _Batches(known[learned], truth[learned], seed),
        config,
        ignore,
        measure=measure if held_out.any() else None,
    )
    probe.eval()
    with torch.no_grad():
        predicted = probe.predict(torch.from_numpy(scale(asked).astype(np.float32))).numpy()
    return np.asarray(predicted * unit.deviation + unit.mean)
