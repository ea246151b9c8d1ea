"""Vectors that came after the index was built: searched exactly beside it, until the next build."""

import threading

import numpy as np

from retrieval.exact_index import ExactIndex, holds
from retrieval.index import Keys, Neighbors, Selection, Vectors

_FIRST_CAPACITY = 256


class FreshVectors:
    """A growing set of unit vectors. Readers take a snapshot, which never changes under them."""

    def __init__(self, dims: int) -> None:
        """Begin empty."""
        self._lock = threading.Lock()
        self._keys = np.empty(_FIRST_CAPACITY, dtype=np.int64)
        self._rows = np.empty((_FIRST_CAPACITY, dims), dtype=np.float32)
        self._snapshot = ExactIndex(self._keys[:0], self._rows[:0])

    def __len__(self) -> int:
        return len(self._snapshot.keys)

    def snapshot(self) -> ExactIndex:
        """Return what is held now, as an index."""
        return self._snapshot

    def beside(
        self, found: Neighbors, queries: Vectors, limit: int, selection: Selection | None
    ) -> Neighbors:
        """Return the nearest of what an index found and of these; scores that are equal keep that order."""
        fresh = self._snapshot
        if not len(fresh.keys):
            return found
        nearest = fresh.search(queries, limit, selection=selection)
        keys = np.concatenate([found.keys, nearest.keys], axis=1)
        scores = np.concatenate([found.scores, nearest.scores], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :limit]
        return Neighbors(
            np.take_along_axis(keys, order, axis=1),
            np.take_along_axis(scores, order, axis=1),
            found.plan,
            found.partial,
        )

    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Add vectors in any order; keys that are held already are left as they are."""
        with self._lock:
            keys, first = np.unique(np.asarray(keys, dtype=np.int64), return_index=True)
            vectors = np.asarray(vectors, dtype=np.float32)[first]
            held = self._snapshot.keys
            new = ~holds(held, keys)
            if not new.any():
                return
            keys, vectors = keys[new], vectors[new]
            if len(held) and keys[0] < held[-1]:
                self._merge(keys, vectors)
            else:
                self._append(keys, vectors)

    def _append(self, keys: Keys, vectors: Vectors) -> None:
        """Write behind what snapshots can see; when there is no room, move to twice as much."""
        held = len(self._snapshot.keys)
        count = held + len(keys)
        if count > len(self._keys):
            all_keys = np.empty(2 * count, dtype=np.int64)
            all_rows = np.empty((2 * count, self._rows.shape[1]), dtype=np.float32)
            all_keys[:held], all_rows[:held] = self._keys[:held], self._rows[:held]
            self._keys, self._rows = all_keys, all_rows
        self._keys[held:count], self._rows[held:count] = keys, vectors
        self._snapshot = ExactIndex(self._keys[:count], self._rows[:count])

    def _merge(self, keys: Keys, vectors: Vectors) -> None:
        held = len(self._snapshot.keys)
        all_keys = np.concatenate([self._keys[:held], keys])
        all_rows = np.concatenate([self._rows[:held], vectors])
        order = np.argsort(all_keys)
        self._replace(all_keys[order], all_rows[order])

    def drop(self, keys: Keys) -> None:
        """Drop these keys: they were deleted or replaced."""
        with self._lock:
            alive = ~np.isin(self._snapshot.keys, keys)
            if not alive.all():
                self._replace(self._snapshot.keys[alive], self._rows[: len(alive)][alive])

    def _replace(self, keys: Keys, rows: Vectors) -> None:
        self._keys, self._rows = keys, rows
        self._snapshot = ExactIndex(keys, rows)
