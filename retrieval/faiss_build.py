"""Builds a FAISS index batch by batch."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import BackendUnavailable, StorageFull
from retrieval.faiss_index import FAISS_FILE
from retrieval.faiss_library import apply_threads, faiss
from retrieval.index import Vectors
from retrieval.index_types import IndexParameters


class FaissBuilder:
    """An index to be: memory holds it, and one batch of vectors."""

    def __init__(self, dims: int, parameters: IndexParameters) -> None:
        """Make an empty index."""
        apply_threads()
        self._index = _empty_index(dims, parameters)

    def train(self, sample: Vectors) -> None:
        """Learn what quantisation and inverted lists need; others need nothing."""
        if len(sample):
            self._index.train(sample)

    def add(self, vectors: Vectors) -> None:
        """Add vectors, whose keys follow those already added."""
        apply_threads()
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def write(self, folder: Path) -> None:
        """Write the index file.

        Raises:
            StorageFull: if the disk is full.
            BackendUnavailable: if it cannot be written for another reason.
        """
        try:
            faiss.write_index(self._index, str(folder / FAISS_FILE))
        except RuntimeError as error:
            if os.strerror(errno.ENOSPC) in str(error):
                raise StorageFull("the disk is full: free some space and retry") from error
            raise BackendUnavailable(f"FAISS cannot write {FAISS_FILE}") from error


def _empty_index(dims: int, parameters: IndexParameters) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    codes = {"f16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}
    code = codes.get(parameters.storage)
    if parameters.kind == "hnsw":
        index = (
            faiss.IndexHNSWFlat(dims, parameters.m, metric)
            if code is None
            else faiss.IndexHNSWSQ(dims, code, parameters.m, metric)
        )
        index.hnsw.efConstruction = parameters.ef_construction
        return index
    if parameters.kind == "ivf":
        quantizer = faiss.IndexFlat(dims, metric)
        lists = max(parameters.nlist, 1)
        index = (
            faiss.IndexIVFFlat(quantizer, dims, lists, metric)
            if code is None
            else faiss.IndexIVFScalarQuantizer(quantizer, dims, lists, code, metric, False)
        )
        index.own_fields = True
        index.cp.min_points_per_centroid = 1  # a warning on stderr helps nobody
        quantizer.this.disown()
        return index
    return faiss.IndexFlat(dims, metric) if code is None else faiss.IndexScalarQuantizer(dims, code, metric)
