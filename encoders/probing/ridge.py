"""The linear probe: ridge regression on standardised features, in closed form."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PENALTY = 1.0

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
    penalty: float = PENALTY,
) -> Doubles:
    """Fit on rows whose targets are known, and predict those of others.

    Equal to scikit-learn's StandardScaler and Ridge(alpha=penalty) with an intercept. Solved in the
    smaller of the two forms: by columns, or, with fewer rows than columns, by rows.

    Args:
        features: shape (n, columns).
        targets: shape (n, targets); all are solved together.
        asked: shape (m, columns).
        penalty: of the squared weights.

    Returns:
        Shape (m, targets).
    """
    scale = Scaler.fit(features)
    known, wanted = scale(features), scale(asked)
    mean = targets.mean(axis=0, dtype=np.float64)
    centred = targets - mean
    if len(known) < known.shape[1]:
        weights = np.linalg.solve(known @ known.T + penalty * np.eye(len(known)), centred)
        return np.asarray(wanted @ (known.T @ weights) + mean)
    weights = np.linalg.solve(known.T @ known + penalty * np.eye(known.shape[1]), known.T @ centred)
    return np.asarray(wanted @ weights + mean)
