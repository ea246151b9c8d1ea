"""How sure a mean over queries is: bootstrap intervals, and paired tests between two systems."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.resampling import LEVEL, RESAMPLES, bootstrap_interval

__all__ = ["LEVEL", "RESAMPLES", "PairedDifference", "bootstrap_interval", "paired_difference"]

_CHUNK_DRAWS = 4_000_000  # signs held at a time


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How far system A is above system B on the same queries."""

    difference: float  # mean of A - B
    low: float
    high: float
    p_value: float  # two-sided; how often chance alone gives a difference this large
    wins: int  # queries where A is better
    losses: int

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def paired_difference(
    a: NDArray[np.float64], b: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> PairedDifference:
    """Compare two systems on the same queries, both values in the same order, shape (queries,).

    The interval is a paired bootstrap; the p-value is a sign-flip permutation test: were the systems
    equal, each query's difference could as well have had the other sign.

    Raises:
        ValueError: if the shapes differ or are empty.
    """
    if a.shape != b.shape:
        raise ValueError(f"expected the same queries, got {len(a)} and {len(b)}")
    differences = a - b
    low, high = bootstrap_interval(differences[:, None], seed=seed, resamples=resamples)[:, 0]
    return PairedDifference(
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        p_value=_sign_flip_p_value(differences, seed, resamples),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
    )


def _sign_flip_p_value(differences: NDArray[np.float64], seed: int, resamples: int) -> float:
    moved = differences[differences != 0]
    if len(moved) == 0:
        return 1.0
    rng = np.random.default_rng(seed)
    observed = abs(moved.sum())
    chunk = max(1, _CHUNK_DRAWS // len(moved))
    as_large = 0
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        signs = rng.integers(0, 2, size=(rows, len(moved)), dtype=np.int8) * 2.0 - 1.0
        as_large += int((np.abs(signs @ moved) >= observed - 1e-12).sum())
    return (as_large + 1) / (resamples + 1)  # the observed order is one of the permutations
