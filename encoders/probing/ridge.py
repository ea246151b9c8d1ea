"""The linear probe: ridge regression on standardised features, in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.probing.folds import Rows, learned_rows

PENALTY = 1.0
PENALTIES = tuple(10.0**exponent for exponent in range(7))
HELD_OUT = 0.2  # of the groups to learn from: they choose the penalty

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scaler:
    """Shifts and scales columns to mean 0 and deviation 1; a constant column is only shifted."""

    mean: Doubles
    deviation: Doubles

    @classmethod
    def fit(cls, rows: NDArray[np.floating]) -> "Scaler":
        """Learn from rows, shape (n, columns)."""
        values = rows.astype(np.float64)
        deviation = values.std(axis=0)
        # What differs by rounding alone is constant.
        constant = deviation <= 1e-9 * np.abs(values).max(axis=0, initial=0.0)
        return cls(values.mean(axis=0), np.where(constant, 1.0, deviation))

    def __call__(self, rows: NDArray[np.floating]) -> Doubles:
        """Scale rows, shape (n, columns)."""
        scaled: Doubles = (rows - self.mean) / self.deviation
        return scaled


def ridge_predictions(
    features: NDArray[np.floating],
    targets: NDArray[np.floating],
    asked: NDArray[np.floating],
    *,
    penalties: Sequence[float] = (PENALTY,),
) -> list[Doubles]:
    """Fit on rows whose targets are known, and predict those of others, once for each penalty.

    Equal to scikit-learn's StandardScaler and Ridge(alpha=penalty) with an intercept. Solved in the
    smaller of the two forms: by columns, or, with fewer rows than columns, by rows.

    Args:
        features: shape (n, columns).
        targets: shape (n, targets); all are solved together.
        asked: shape (m, columns).
        penalties: of the squared weights, each above 0.

    Returns:
        For each penalty, shape (m, targets).
    """
    scale = Scaler.fit(features)
    known, wanted = scale(features), scale(asked)
    mean = targets.mean(axis=0, dtype=np.float64)
    centred = targets - mean
    by_rows = len(known) < known.shape[1]
    square = known @ known.T if by_rows else known.T @ known
    right = centred if by_rows else known.T @ centred
    left = wanted @ known.T if by_rows else wanted
    # One decomposition serves every penalty.
    values, vectors = np.linalg.eigh(square)
    turned, rotated = left @ vectors, vectors.T @ right
    return [turned @ (rotated / (values.clip(min=0) + penalty)[:, None]) + mean for penalty in penalties]


def tuned_predictions(
    features: NDArray[np.floating],
    targets: NDArray[np.floating],
    asked: NDArray[np.floating],
    groups: Rows,
    *,
    seed: int,
    penalties: Sequence[float] = PENALTIES,
) -> Doubles:
    """Predict as `ridge_predictions` does, each target with the penalty that suits it.

    The penalty is the one that predicts groups best that are held out from the known ones for that; the
    fit is then done again on all of them.

    Args:
        features: shape (n, columns).
        targets: shape (n, targets).
        asked: shape (m, columns).
        groups: the group's number of each known row, shape (n,).
        seed: of the groups held out.
        penalties: to choose from.

    Returns:
        Shape (m, targets).
    """
    learned = learned_rows(groups, seed, HELD_OUT)
    tried = ridge_predictions(features[learned], targets[learned], features[~learned], penalties=penalties)
    errors = [((predicted - targets[~learned]) ** 2).sum(axis=0) for predicted in tried]
    best = np.argmin(errors, axis=0)
    predicted = np.stack(ridge_predictions(features, targets, asked, penalties=penalties))
    return predicted[best, :, np.arange(targets.shape[1])].T
