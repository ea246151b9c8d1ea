"""The FAISS index: a scan, a graph (HNSW) or inverted lists (IVF).

A FAISS id is a position in `keys.npy`, which is ascending: no id map is stored, so none can disagree.
"""

import functools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import CorruptArtifact
from retrieval.exact_index import (
    KEYS_FILE,
    VECTORS_FILE,
    Rows,
    check_queries,
    load_keys,
    load_rows,
    neighbors,
    positions_of,
    rows_of,
    scan,
)
from retrieval.faiss_library import apply_threads, faiss
from retrieval.index import Capabilities, Keys, Neighbors, Selection, Vectors
from retrieval.index_types import IndexParameters
from retrieval.planner import graph_effort, plan_filtered, scan_way

FAISS_FILE = "index.faiss"

# Loops in a FAISS file (inverted lists, levels) are short; a flipped bit must not make one endless.
MAX_DESERIALIZATION_LOOPS = 1 << 24

# A scan by matrix product beats FAISS's own loop from this many queries on.
MATRIX_SCAN_FROM = 4

# Who asks for more than one in so many of all vectors gets a scan: nothing else would find them.
SCAN_SHARE = 10

# Quantised scores only choose candidates: this many for each hit are scored again from the vectors.
RESCORE_FACTOR = 4

_reading = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Matching:
    """A selection, seen from the index."""

    positions: NDArray[np.int64]
    mask: NDArray[np.bool_]  # shape (count,)
    selector: Any  # faiss.IDSelectorBitmap over the mask


class FaissIndex:
    """Vectors in a FAISS index. Implements `retrieval.index.Index`."""

    def __init__(self, keys: Keys, index: Any, parameters: IndexParameters, rows: Rows) -> None:
        """Wrap an index that is complete: it is never added to, for adding while searching crashes.

        Args:
            keys: ascending, shape (count,).
            index: a FAISS index by inner product, holding the vectors in the order of the keys.
            parameters: what it was built with.
            rows: the stored vectors in the same order, shape (count, dims).
        """
        self._keys = keys
        self._index = index
        self._parameters = parameters
        self._rows = rows
        self._matching: WeakKeyDictionary[Selection, _Matching] = WeakKeyDictionary()

    @classmethod
    def open(cls, folder: Path, parameters: IndexParameters) -> "FaissIndex":
        """Map the files of a folder that was verified.

        Raises:
            CorruptArtifact: if FAISS cannot read its file, or the files disagree about the count.
        """
        index = _read(folder / FAISS_FILE)
        keys = load_keys(folder / KEYS_FILE)
        if index.ntotal != len(keys):
            raise CorruptArtifact(f"{FAISS_FILE} holds {index.ntotal} vectors, {KEYS_FILE} {len(keys)}")
        file = folder / VECTORS_FILE
        rows = load_rows(file) if file.exists() else _storage_rows(index, parameters.storage)
        return cls(keys, index, parameters, rows)

    @property
    def dims(self) -> int:
        """The width of a vector."""
        return int(self._rows.shape[1])

    @property
    def keys(self) -> Keys:
        """The keys of all vectors, ascending."""
        return self._keys

    @property
    def capabilities(self) -> Capabilities:
        """What this index can do."""
        return Capabilities(
            backend="faiss",
            filtered_search=True,
            exact_search=True,
            returns_vectors=True,
            memory_mapped=self._parameters.kind != "ivf",
            gpu=False,
        )

    def search(
        self,
        queries: Vectors,
        limit: int,
        *,
        selection: Selection | None = None,
        effort: int = 0,
        exact: bool = False,
        allow_partial: bool = False,
    ) -> Neighbors:
        """Find the nearest vectors of each query, as the planner thinks best where there is a filter."""
        check_queries(queries, self.dims)
        apply_threads()
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if selection is not None:
            return self._search_filtered(queries, limit, selection, effort, exact)
        if exact:
            found, scores = self._scan(queries, limit)
            return neighbors(self._keys, found, scores, limit, "exact")
        found, scores = self._search_all(queries, limit, effort)
        return neighbors(self._keys, found, scores, limit, self._parameters.kind)

    def _search_all(
        self, queries: Vectors, limit: int, effort: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search without a filter."""
        kind, count = self._parameters.kind, len(self._keys)
        if count == 0:
            return self._scan(queries, limit)
        wanted = min(limit, count)
        effort = effort or self._parameters.effort
        if kind == "hnsw":
            effort = graph_effort(effort, wanted)
        if kind == "flat" or wanted * SCAN_SHARE >= count or (kind == "hnsw" and effort >= count):
            return self._scan(queries, wanted)
        if self._parameters.storage != "sq8":
            return self._approximate(queries, wanted, effort)
        found, _ = self._approximate(queries, min(count, RESCORE_FACTOR * wanted), effort)
        return self._rescore(queries, found, wanted)

    def _approximate(
        self, queries: Vectors, wanted: int, effort: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if self._parameters.kind == "hnsw":
            settings = _graph_settings(max(effort, wanted))
        else:
            settings = faiss.SearchParametersIVF(nprobe=max(effort, 1))
        scores, found = self._index.search(queries, wanted, params=settings)
        return found, scores

    def _rescore(
        self, queries: Vectors, found: NDArray[np.int64], wanted: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Score candidates again from the stored vectors and keep the best."""
        rows = self._rows[np.maximum(found, 0)].astype(np.float32)
        scores = np.einsum("ncd,nd->nc", rows, queries)
        scores = np.where(found < 0, np.float32(-np.inf), scores)
        order = np.lexsort((found, -scores), axis=1)[:, :wanted]
        return np.take_along_axis(found, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def _scan(
        self, queries: Vectors, limit: int, matching: _Matching | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Compare with every vector, or with every one that matches."""
        count = len(self._keys) if matching is None else len(matching.positions)
        # Codes of eight bits would score differently from the stored vectors.
        storage = None if self._parameters.storage == "sq8" else _storage(self._index)
        if matching is None:
            by_matrix = len(queries) >= MATRIX_SCAN_FROM
        else:
            by_matrix, _ = scan_way(max(1, len(queries)), len(self._keys), count)
        if by_matrix or storage is None or count == 0:
            return scan(self._rows, queries, limit, None if matching is None else matching.positions)
        settings = None if matching is None else faiss.SearchParameters(sel=matching.selector)
        scores, found = storage.search(queries, min(limit, count), params=settings)
        return found, scores

    def _search_filtered(
        self, queries: Vectors, limit: int, selection: Selection, effort: int, exact: bool
    ) -> Neighbors:
        matching = self._match(selection)
        plan = plan_filtered(
            queries=max(1, len(queries)),
            count=max(1, len(self._keys)),
            matching=len(matching.positions),
            limit=limit,
            effort=effort or self._parameters.effort,
            approximate=self._parameters.kind == "hnsw" and not exact,
        )
        if plan.fetch == 0:
            found, scores = self._scan(queries, limit, matching)
            return neighbors(self._keys, found, scores, limit, plan.text)
        found, scores = self._over_fetch(queries, limit, matching, plan.fetch, effort)
        return neighbors(self._keys, found, scores, limit, plan.text)

    def _over_fetch(
        self, queries: Vectors, limit: int, matching: _Matching, fetch: int, effort: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search without the filter, keep what matches, and scan for the queries that found too few."""
        all_found, all_scores = self._search_all(queries, fetch, effort)
        kept = matching.mask[all_found] & (all_found >= 0)
        order = np.argsort(~kept, axis=1, kind="stable")[:, :limit]  # the matching ones first, in order
        found = np.take_along_axis(all_found, order, axis=1)
        scores = np.take_along_axis(all_scores, order, axis=1)
        poor = np.flatnonzero(kept.sum(axis=1) < limit)
        if len(poor):
            found[poor], scores[poor] = self._scan(queries[poor], limit, matching)
        return found, scores

    def _match(self, selection: Selection) -> _Matching:
        known = self._matching.get(selection)
        if known is None:
            positions = positions_of(self._keys, selection.keys)
            mask = np.zeros(len(self._keys), dtype=np.bool_)
            mask[positions] = True
            selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
            known = self._matching[selection] = _Matching(positions, mask, selector)
        return known

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order."""
        return rows_of(self._keys, self._rows, keys)

    def close(self) -> None:
        """Let go of the index; searches that run keep it until they end."""
        self._matching.clear()


@functools.lru_cache(maxsize=64)
def _graph_settings(effort: int) -> Any:
    """Make FAISS's form of an effort; one is made in the time that a tenth of a search takes."""
    return faiss.SearchParametersHNSW(efSearch=effort)


def _read(file: Path) -> Any:
    with _reading:  # the limits are global
        faiss.set_deserialization_loop_limit(MAX_DESERIALIZATION_LOOPS)
        faiss.set_deserialization_vector_byte_limit(max(file.stat().st_size, 1))
        try:
            return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, MemoryError) as error:
            raise CorruptArtifact(f"FAISS cannot read {file.name}") from error


def _storage(index: Any) -> Any:
    """Return the flat index that holds the vectors, or None for inverted lists."""
    if isinstance(index, faiss.IndexHNSW):
        return faiss.downcast_index(index.storage)
    return None if isinstance(index, faiss.IndexIVF) else index


def _storage_rows(index: Any, storage: str) -> Rows:
    """View the vectors inside a FAISS index, without a copy; the view keeps the index alive."""
    codes = _storage(index).codes
    if codes.size() == 0:
        return np.empty((0, index.d), dtype=np.float32)
    view = faiss.rev_swig_ptr(codes.data(), codes.size()).view(_StorageView)
    view.owner = index
    view.flags.writeable = False
    rows: Rows = view.view(np.float16 if storage == "f16" else np.float32).reshape(index.ntotal, index.d)
    return rows


class _StorageView(np.ndarray[Any, Any]):
    """An array over memory that a FAISS index owns."""

    owner: Any
