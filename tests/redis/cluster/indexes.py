"""Indexes over a few thousand vectors, for the tests of the cluster."""

from pathlib import Path
from typing import Any

import numpy as np

from retrieval.index import Index
from retrieval.index_build import build_index, open_index_files
from retrieval.index_types import choose_parameters
from tests.vectors import unit_rows

COUNT, DIMS = 2000, 32


def make_index(folder: Path, partitions: int = 6, **overrides: Any) -> Index:
    """Build an index of COUNT vectors in the Redis of this process, and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    keys, vectors = np.arange(1, COUNT + 1), unit_rows(COUNT, DIMS)
    overrides = {"backend": "redis", "partitions": partitions, "effort": 200, **overrides}
    parameters = choose_parameters(COUNT, DIMS, 0.99, overrides)
    batches = [(keys[start : start + 500], vectors[start : start + 500]) for start in range(0, COUNT, 500)]
    built = build_index(folder, batches, DIMS, parameters, vectors[:50])
    return open_index_files(folder, built.parameters)
