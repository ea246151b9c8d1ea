"""Vectors and selections of keys, for the tests of indexes."""

from dataclasses import dataclass, field

import numpy as np

from retrieval.filters import Filter
from retrieval.index import Keys, Vectors


@dataclass(frozen=True, eq=False)
class Chosen:
    """A selection of given keys."""

    keys: Keys
    filter: Filter = field(default_factory=Filter)


def unit_rows(count: int, dims: int = 8, seed: int = 0) -> Vectors:
    """Return random unit vectors, shape (count, dims)."""
    rows: Vectors = np.random.default_rng(seed).standard_normal((count, dims)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
