"""How sure a mean over queries is: bootstrap intervals."""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95  # the share of resampled means inside an interval
_CHUNK_DRAWS = 4_000_000  # draws held at a time: 32 MB


def bootstrap_interval(
    values: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Find the 95 % percentile interval of the mean over queries.

    Every column is resampled by the same draws, so columns stay comparable.

    Args:
        values: one row per query, shape (queries, columns).
        seed: the same seed gives the same interval.
        resamples: how many times the queries are drawn again, with replacement.

    Returns:
        The lower and upper bound of each column, shape (2, columns).

    Raises:
        ValueError: if there is no query.

    >>> bootstrap_interval(np.ones((5, 1))).ravel().tolist()
    [1.0, 1.0]
    """
    means = _resampled_means(values, seed, resamples)
    tail = (1 - LEVEL) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0)


def _resampled_means(values: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    count = len(values)
    if count == 0:
        raise ValueError("expected at least one query, got none")
    rng = np.random.default_rng(seed)
    chunk = max(1, min(resamples, _CHUNK_DRAWS // count))
    means = []
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(0, count, size=(rows, count)) + np.arange(rows)[:, None] * count
        # How often each query was drawn: one matrix product then gives the means of all columns.
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        means.append(times.astype(np.float64) @ values / count)
    return np.concatenate(means)
