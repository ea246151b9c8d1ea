"""FAISS on a GPU: a scan of all vectors, or inverted lists. Needs the extra gpu in place of cpu.

A GPU scans hundreds of thousands of vectors in less time than a graph takes on a CPU, and misses none; so a
graph (HNSW), which FAISS has for CPUs alone, is served by a scan of its vectors. Filtered searches, which
the planner mostly answers from a few rows, stay on the CPU.
"""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.device import DeviceNotThere
from retrieval.exact_index import Rows
from retrieval.faiss_index import FaissIndex
from retrieval.faiss_library import faiss
from retrieval.index import Capabilities, Keys, Vectors
from retrieval.index_types import IndexParameters

_COPY_ROWS = 65_536  # copied to the GPU at a time, as float32
_LARGEST_K = 2048  # that FAISS's selection on a GPU knows


def check_gpu() -> None:
    """Check that FAISS can use a GPU.

    Raises:
        DeviceNotThere: if it cannot.
    """
    if not hasattr(faiss, "StandardGpuResources"):
        raise DeviceNotThere("--device cuda: this FAISS is built for CPUs: pip install 'twinspire[gpu]'")
    if faiss.get_num_gpus() < 1:
        raise DeviceNotThere("--device cuda: FAISS finds no GPU; check the driver with nvidia-smi")


class GpuFaissIndex(FaissIndex):
    """An index whose vectors are searched on the first GPU."""

    def __init__(self, keys: Keys, index: Any, parameters: IndexParameters, rows: Rows) -> None:
        """Copy the vectors to the GPU; the rest stays as `FaissIndex` has it.

        Raises:
            DeviceNotThere: if there is no GPU that FAISS can use.
        """
        check_gpu()
        super().__init__(keys, index, parameters, rows)
        self._resources = faiss.StandardGpuResources()
        self._using = threading.Lock()  # its memory serves one search at a time
        is_ivf = parameters.kind == "ivf"
        self._on_gpu = self._copied(index) if is_ivf else self._flat(rows, parameters.storage)

    @property
    def capabilities(self) -> Capabilities:
        """What this index can do."""
        return replace(super().capabilities, memory_mapped=False, gpu=True)

    def close(self) -> None:
        """Let go of the index, and of its memory on the GPU once no search runs."""
        super().close()
        with self._using:
            self._on_gpu = None

    def _copied(self, index: Any) -> Any:
        options = faiss.GpuClonerOptions()
        options.useFloat16 = self._parameters.storage != "f32"
        return faiss.index_cpu_to_gpu(self._resources, 0, index, options)

    def _flat(self, rows: Rows, storage: str) -> Any:
        config = faiss.GpuIndexFlatConfig()
        config.device = 0
        config.useFloat16 = storage != "f32"
        flat = faiss.GpuIndexFlat(self._resources, rows.shape[1], faiss.METRIC_INNER_PRODUCT, config)
        for start in range(0, len(rows), _COPY_ROWS):
            flat.add(np.ascontiguousarray(rows[start : start + _COPY_ROWS], dtype=np.float32))
        return flat

    def _search_all(
        self, queries: Vectors, limit: int, effort: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if self._parameters.kind == "ivf" or limit > _LARGEST_K:
            return super()._search_all(queries, limit, effort)
        return self._scan(queries, min(limit, len(self._keys)))

    def _approximate(
        self, queries: Vectors, wanted: int, effort: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if self._parameters.kind != "ivf" or wanted > _LARGEST_K:
            return super()._approximate(queries, wanted, effort)
        with self._using:
            settings = faiss.SearchParametersIVF(nprobe=max(effort, 1))
            scores, found = self._on_gpu.search(queries, wanted, params=settings)
        return found, scores

    def _scan(
        self, queries: Vectors, limit: int, matching: Any = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        flat = self._parameters.kind != "ivf"
        if matching is not None or not flat or not len(self._keys) or limit > _LARGEST_K:
            return super()._scan(queries, limit, matching)
        with self._using:
            scores, found = self._on_gpu.search(queries, min(limit, len(self._keys)))
        return found, scores
