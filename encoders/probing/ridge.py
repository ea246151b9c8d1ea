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


def ridge_weights(known: Doubles, targets: Doubles, penalties: Sequence[float] = (PENALTY,)) -> list[Doubles]:
    """Fit centred targets to centred columns, once for each penalty.

    Solved in the smaller of the two forms: by columns, or, with fewer rows than columns, by rows.

    Args:
        known: shape (n, columns).
        targets: shape (n, targets); all are solved together.
        penalties: of the squared weights, each above 0.

    Returns:
        For each penalty, shape (columns, targets).
    """
    by_rows = len(known) < known.shape[1]
    square = known @ known.T if by_rows else known.T @ known
    right = targets if by_rows else known.T @ targets
    # One decomposition serves every penalty.
    values, vectors = np.linalg.eigh(square)
    left = known.T @ vectors if by_rows else vectors
    rotated = vectors.T @ right
    return [left @ (rotated / (values.clip(min=0) + penalty)[:, None]) for penalty in penalties]


def tuned_weights(known: Doubles, targets: Doubles, groups: Rows, *, seed: int) -> Doubles:
    """Fit as `ridge_weights` does, each target with the penalty that suits it.

    The penalty is the one that predicts groups best that are held out for that; the fit is then done again
    on all rows.

    Args:
        known: shape (n, columns).
        targets: shape (n, targets).
        groups: the group's number of each row, shape (n,).
        seed: of the groups held out.

    Returns:
        Shape (columns, targets).
    """
    learned = learned_rows(groups, seed, HELD_OUT)
    mean = targets[learned].mean(axis=0)
    tried = ridge_weights(known[learned], targets[learned] - mean, PENALTIES)
    truth = targets[~learned] - mean
    errors = [((known[~learned] @ weights - truth) ** 2).sum(axis=0) for weights in tried]
    best = np.argmin(errors, axis=0)
    fitted = np.stack(ridge_weights(known, targets, PENALTIES))
    return fitted[best, :, np.arange(targets.shape[1])].T


def ridge_predictions(
    features: NDArray[np.floating],
    targets: NDArray[np.floating],
    asked: NDArray[np.floating],
    groups: Rows | None = None,
    *,
    seed: int = 0,
    penalty: float = PENALTY,
) -> Doubles:
    """Fit on rows whose targets are known, and predict those of others.

    Equal to scikit-learn's StandardScaler and Ridge(alpha=penalty) with an intercept.

    Args:
        features: shape (n, columns).
        targets: shape (n, targets).
        asked: shape (m, columns).
        groups: the group's number of each known row, shape (n,), to choose the penalty by; else it is fixed.
        seed: of the groups held out to choose it.
        penalty: if it is fixed.

    Returns:
        Shape (m, targets).
    """
    scale = Scaler.fit(features)
    mean = targets.mean(axis=0, dtype=np.float64)
    known, centred = scale(features), targets - mean
    if groups is None:
        (weights,) = ridge_weights(known, centred, [penalty])
    else:
        weights = tuned_weights(known, centred, groups, seed=seed)
    return np.asarray(scale(asked) @ weights + mean)
