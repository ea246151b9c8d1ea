"""Bootstrap intervals where queries come in groups: movements of one work, windows of one recording."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.resampling import LEVEL, RESAMPLES

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries, and the interval of it were other groups drawn."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def grouped_estimates(values: Floats, groups: NDArray[np.int64]) -> list[Estimate]:
    """Estimate the mean over queries of each column, drawing whole groups again.

    Columns share the draws, which are always the same.

    Args:
        values: shape (queries, columns).
        groups: of each query, shape (queries,).

    Raises:
        ValueError: if there is no query.

    >>> [str(estimate) for estimate in grouped_estimates(np.ones((4, 1)), np.array([0, 0, 1, 2]))]
    ['1.000 [1.000, 1.000]']
    """
    if not len(values):
        raise ValueError("expected at least one query, got none")
    names, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, place, values)
    counts = np.bincount(place).astype(np.float64)
    times = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    means = (times @ sums) / (times @ counts)[:, None]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return [
        Estimate(float(v), float(a), float(b)) for v, a, b in zip(values.mean(axis=0), low, high, strict=True)
    ]
