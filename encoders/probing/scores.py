"""How well targets are predicted: R2, pooled over the folds, with intervals over groups."""

import numpy as np
from numpy.typing import NDArray

from encoders.probing.folds import Rows

RESAMPLES = 1000
LEVEL = 0.95

Doubles = NDArray[np.float64]


def r_squared(targets: NDArray[np.floating], predictions: NDArray[np.floating]) -> Doubles:
    """Return 1 - residual / total sum of squares of each target; NaN where a target does not vary.

    Predicting the mean of all rows gives 0, anything worse less.

    Args:
        targets: shape (n, targets).
        predictions: shape (..., n, targets), each row predicted by a probe that had not seen its group.

    Returns:
        Shape (..., targets).
    """
    truth = targets.astype(np.float64)
    residual = ((predictions - truth) ** 2).sum(axis=-2)
    return _ratio(residual, ((truth - truth.mean(axis=0)) ** 2).sum(axis=0))


def _ratio(residual: Doubles, total: Doubles) -> Doubles:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 - residual / np.where(total > 0, total, 1), np.nan)


def r_squared_interval(
    targets: NDArray[np.floating], predictions: NDArray[np.floating], groups: Rows
) -> Doubles:
    """Find the 95 % percentile interval of R2 when groups are drawn again with replacement.

    Groups, not rows, are drawn: the windows of one recording are no independent witnesses.

    Args:
        targets: shape (n, targets).
        predictions: shape (n, targets).
        groups: the group's number of each row, shape (n,).

    Returns:
        The lower and the upper bound, shape (2, targets).
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    truth = targets.astype(np.float64)
    truth = truth - truth.mean(axis=0)  # the sums of squares below then lose no digits
    residual = (predictions - targets) ** 2
    sums = [_by_group(values, numbers, count) for values in (np.ones_like(truth), truth, truth**2, residual)]
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    rows, first, second, errors = (drawn.astype(np.float64) @ part for part in sums)
    scores = _ratio(errors, second - first**2 / rows)
    tail = (1 - LEVEL) / 2
    bounds = np.full((2, truth.shape[1]), np.nan)
    varied = np.isfinite(scores).any(axis=0)
    bounds[:, varied] = np.nanquantile(scores[:, varied], [tail, 1 - tail], axis=0)
    return bounds


def _by_group(values: Doubles, numbers: Rows, count: int) -> Doubles:
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, numbers, values)
    return sums
