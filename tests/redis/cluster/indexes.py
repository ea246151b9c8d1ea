"""Indexes over a few thousand vectors, for the tests of the cluster."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.filters import Filter
from retrieval.index import Index, Keys, Vectors
from retrieval.index_build import build_index, open_index_files
from retrieval.index_types import choose_parameters

COUNT, DIMS = 2000, 32


@dataclass(frozen=True, eq=False)
class Chosen:
    """A selection of given keys."""

    keys: Keys
    filter: Filter = field(default_factory=Filter)


def unit_rows(count: int, seed: int = 0) -> Vectors:
    """Return random unit vectors, shape (count, DIMS)."""
    rows: Vectors = np.random.default_rng(seed).standard_normal((count, DIMS)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def make_index(folder: Path, partitions: int = 6, **overrides: Any) -> Index:
    """Build an index of COUNT vectors in the Redis of this process, and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    keys, vectors = np.arange(1, COUNT + 1), unit_rows(COUNT)
    overrides = {"backend": "redis", "partitions": partitions, "effort": 200, **overrides}
    parameters = choose_parameters(COUNT, DIMS, 0.99, overrides)
    batches = [(keys[start : start + 500], vectors[start : start + 500]) for start in range(0, COUNT, 500)]
    built = build_index(folder, batches, DIMS, parameters, vectors[:50])
    return open_index_files(folder, built.parameters)
