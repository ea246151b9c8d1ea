"""What is read from a collection's sounds, in memory: searches by aspect compare all of it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.change_watch import ChangeWatch
from retrieval.collections import collection_rowid
from retrieval.errors import ModelNotFound
from retrieval.features import Features, features_of
from retrieval.index import Keys, Selection
from retrieval.segments import in_windows
from retrieval.workspace import Workspace

READ_AT_ONCE = 4096  # readings, of some bytes each
FEATURES_AT_ONCE = 256  # of some ten thousand bytes each

Readings = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Held:
    """Readings as of one moment; never changed."""

    keys: Keys  # ascending
    values: Readings  # shape (targets, n)


class AspectReadings:
    """The readings of all segments of a collection that have features. May be shared by threads.

    There are few numbers a segment, so every search compares with all of them: its recall is 1.
    """

    def __init__(
        self,
        ws: Workspace,
        collection: str,
        *,
        readings: str,
        features: str,
        targets: int,
        read: Callable[[Features], Readings],
        window_s: float | None = None,
    ) -> None:
        """Begin empty; the first search fills it.

        Args:
            ws: the workspace.
            collection: its name.
            readings: the fingerprint under which readings are stored, as features of one layer.
            features: the fingerprint of the features that they are read from, where none are stored yet.
            targets: how many are read.
            read: features of shape (n, layers, width) to readings of shape (n, targets).
            window_s: of the index version that is searched; None means the one to come.
        """
        self._ws = ws
        self._collection = collection
        self._readings, self._features, self._read = readings, features, read
        self._searched = in_windows(window_s)
        self._watch = ChangeWatch(ws)
        self._generation = -1
        self._lock = threading.Lock()
        self._held = _Held(np.empty(0, np.int64), np.empty((targets, 0), np.float32))

    def search(
        self, wanted: Readings, weights: Readings, limit: int, selection: Selection | None = None
    ) -> tuple[Keys, NDArray[np.float64]]:
        """Find the segments whose readings are nearest.

        Args:
            wanted: shape (targets,).
            weights: of the targets, shape (targets,): they sum to 1.
            limit: at most so many are found.
            selection: only these segments may be found.

        Returns:
            Keys and scores, best first, ties by key: minus the weighted mean difference.
        """
        held = self._current()
        keys, values = held.keys, held.values
        if selection is not None:
            places = np.flatnonzero(np.isin(keys, selection.keys, assume_unique=True))
            keys, values = keys[places], values[:, places]
        scores = np.zeros(len(keys))
        for target in np.flatnonzero(weights):
            scores -= weights[target] * np.abs(values[target] - wanted[target])
        if limit < len(keys):
            best = np.argpartition(-scores, limit - 1)[:limit]
            # All that tie with the last one are looked at, so that the same ones are always found.
            best = np.flatnonzero(scores >= scores[best].min())
            keys, scores = keys[best], scores[best]
        order = np.lexsort((keys, -scores))[:limit]
        return keys[order], scores[order]

    def of_item(self, id: str) -> Readings | None:
        """Return the readings of an item, the mean over its segments; None if it has no features."""
        rows = self._ws.fetch(
            "SELECT segments.rowid FROM items CROSS JOIN segments ON segments.item = items.rowid"
            " WHERE items.collection = ? AND items.id = ?",
            (self._collection, id),
        )
        held = self._current()
        places = np.isin(held.keys, [key for (key,) in rows])
        return held.values[:, places].mean(axis=1) if places.any() else None

    def _current(self) -> _Held:
        """Return the readings as the database is now."""
        generation = self._watch.generation()
        if generation != self._generation:
            with self._lock:
                if generation != self._generation:
                    self._refresh()
                    self._generation = generation
        return self._held

    def _refresh(self) -> None:
        held = self._held
        alive = self._keys_with_features()
        kept = np.isin(held.keys, alive, assume_unique=True)
        new = np.setdiff1d(alive, held.keys, assume_unique=True)
        if kept.all() and not len(new):
            return
        parts = [
            (held.keys[kept], held.values[:, kept]),
            *((keys, rows.T) for keys, rows in self._read_new(new)),
        ]
        keys = np.concatenate([keys for keys, _ in parts])
        values = np.concatenate([values for _, values in parts], axis=1)
        order = np.argsort(keys)
        self._held = _Held(keys[order], np.ascontiguousarray(values[:, order]))

    def _keys_with_features(self) -> Keys:
        rows = self._ws.fetch(
            "SELECT segments.rowid FROM segments CROSS JOIN features ON features.segment = segments.rowid"
            " AND features.feature_set = (SELECT rowid FROM feature_sets WHERE fingerprint = ?)"
            f" WHERE segments.collection = ? AND {self._searched}",
            (self._features, collection_rowid(self._ws, self._collection)),
        )
        return np.sort(np.fromiter((key for (key,) in rows), np.int64, count=len(rows)))

    def _read_new(self, keys: Keys) -> Iterator[tuple[Keys, Readings]]:
        """Yield readings that are stored, and read the others from their features."""
        for start in range(0, len(keys), READ_AT_ONCE):
            part = keys[start : start + READ_AT_ONCE]
            try:
                stored, readings = features_of(self._ws, self._readings, part)
                yield stored, readings[:, 0]
            except ModelNotFound:  # none was ever stored
                stored = part[:0]
            lacking = np.setdiff1d(part, stored, assume_unique=True)
            for first in range(0, len(lacking), FEATURES_AT_ONCE):
                found, features = features_of(
                    self._ws, self._features, lacking[first : first + FEATURES_AT_ONCE]
                )
                yield found, self._read(features)


@dataclass(slots=True, eq=False)
class AspectQuery:
    """What a search by aspect compares, instead of vectors."""

    readings: AspectReadings  # of what may be found
    wanted: Readings  # of what was asked by, shape (targets,)
    weights: Readings  # of the targets, shape (targets,); they sum to 1
