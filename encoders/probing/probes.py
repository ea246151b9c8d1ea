"""Probing: which layers of a frozen model know which properties of a sound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from encoders.probing.folds import SEED, Fold, Rows, folds_of
from encoders.probing.ridge import ridge_predictions
from encoders.probing.scores import Doubles, r_squared, r_squared_interval

ProbeKind: TypeAlias = Literal["ridge", "tuned", "neural"]
KINDS: tuple[ProbeKind, ...] = ("ridge", "tuned", "neural")
OnStep: TypeAlias = Callable[[str, int, int], None]
"""Told the probe's kind, how many of its layers and folds are done, and of how many."""


@dataclass(frozen=True, slots=True)
class ProbeData:
    """What probes learn from; rows in one order."""

    features: NDArray[np.float32]  # shape (n, layers, width)
    targets: NDArray[np.float32]  # shape (n, targets)
    groups: Rows  # shape (n,): recording or work


@dataclass(frozen=True, slots=True)
class ProbeScores:
    """How well one kind of probe predicts each target from each layer."""

    r2: Doubles  # shape (layers, targets); NaN where a target does not vary
    low: Doubles  # 95 % interval over groups, same shape
    high: Doubles
    predictions: NDArray[np.float32]  # shape (layers, n, targets): of rows whose group was not seen


def probe(
    data: ProbeData, kind: ProbeKind, *, seed: int = SEED, on_step: OnStep = lambda *_: None
) -> ProbeScores:
    """Predict each target from each layer, by probes that have not seen the row's group.

    Args:
        data: of at least five groups.
        kind: of the probe.
        seed: of the folds, and of neural probes.
        on_step: told of every layer and fold.

    Raises:
        InvalidInput: if there are fewer than five groups.
    """
    folds = folds_of(data.groups, seed=seed)
    layers = data.features.shape[1]
    scores = []
    predictions = np.empty((layers, *data.targets.shape), dtype=np.float32)
    for layer in range(layers):
        predicted = np.empty(data.targets.shape)
        for number, fold in enumerate(folds):
            predicted[fold[1]] = _predict(data, layer, fold, kind, seed)
            on_step(kind, layer * len(folds) + number + 1, layers * len(folds))
        bounds = r_squared_interval(data.targets, predicted, data.groups)
        predictions[layer] = predicted
        scores.append((r_squared(data.targets, predicted), *bounds))
    r2, low, high = (np.stack(column) for column in zip(*scores, strict=True))
    return ProbeScores(r2, low, high, predictions)


def _predict(data: ProbeData, layer: int, fold: Fold, kind: ProbeKind, seed: int) -> Doubles:
    known, asked = fold
    rows, targets = data.features[:, layer], data.targets
    if kind == "ridge":
        return ridge_predictions(rows[known], targets[known], rows[asked])
    if kind == "tuned":
        return ridge_predictions(rows[known], targets[known], rows[asked], data.groups[known], seed=seed)
    from encoders.probing.neural_probe import neural_predictions

    return neural_predictions(rows[known], targets[known], rows[asked], data.groups[known], seed=seed)


def mean_baseline(data: ProbeData, *, seed: int = SEED) -> Doubles:
    """Score the predictor that knows no layer: the mean of the folds that are learned from.

    Returns:
        R2, shape (targets,): a little below 0, which the mean of all rows would have.
    """
    predicted = np.empty(data.targets.shape)
    for known, asked in folds_of(data.groups, seed=seed):
        predicted[asked] = data.targets[known].mean(axis=0, dtype=np.float64)
    return r_squared(data.targets, predicted)


def best_layers(r2: Doubles) -> Sequence[int | None]:
    """Return the layer that knows each target best; None where a target does not vary.

    >>> best_layers(np.array([[0.1, np.nan], [0.4, np.nan]]))
    [1, None]
    """
    return [None if np.isnan(column).all() else int(np.nanargmax(column)) for column in r2.T]
