"""Reads from the database what came after an index was built."""

import threading
from contextlib import suppress

import numpy as np

from retrieval.embeddings import embeddings_of
from retrieval.errors import ModelNotFound
from retrieval.fresh_vectors import FreshVectors
from retrieval.manifest import Manifest
from retrieval.segments import in_windows
from retrieval.workspace import Workspace

# As many segments are looked at within a search for vectors that other processes stored.
NEWEST = 1024


class FreshReader:
    """Keeps the vectors beside an index in step with the database. May be shared by threads."""

    def __init__(self, ws: Workspace, collection: str, manifest: Manifest) -> None:
        """Begin with none."""
        self.vectors = FreshVectors(manifest.dims)
        self._ws = ws
        self._collection = collection
        self._manifest = manifest
        self._searched = in_windows(manifest.window_s)  # not windows for a version to come
        self._reading = threading.Lock()
        self._read_to = manifest.built_key  # the highest segment that `read_newest` has met
        self._unencoded = np.empty(0, dtype=np.int64)  # those without a vector when it did

    def refresh(self) -> int:
        """Pick up what was encoded, replaced or deleted since the index was built; return how many there are.

        Raises:
            BackendUnavailable: if the database is locked.
        """
        fingerprint = self._manifest.fingerprint
        held = self.vectors.snapshot().keys  # before the read: what is added after it is not judged by it
        rows = self._ws.fetch(
            "SELECT segments.rowid FROM segments CROSS JOIN embeddings ON embeddings.segment = segments.rowid"
            " AND embeddings.encoder = (SELECT rowid FROM encoders WHERE fingerprint = ?)"
            " WHERE segments.collection = (SELECT rowid FROM collections WHERE name = ?)"
            f" AND segments.rowid > ? AND {self._searched}",
            (fingerprint, self._collection, self._manifest.built_key),
        )
        alive = np.fromiter((key for (key,) in rows), dtype=np.int64, count=len(rows))
        self.vectors.drop(np.setdiff1d(held, alive))
        new = np.setdiff1d(alive, self.vectors.snapshot().keys)
        if len(new):
            self.vectors.add(*embeddings_of(self._ws, fingerprint, new))
        return len(self.vectors)

    def read_newest(self) -> None:
        """Pick up what other processes encoded just now: what they acknowledged, the next search finds.

        Bounded, for it runs within a search: what is not among the newest waits for `refresh`.

        Raises:
            BackendUnavailable: if the database is locked.
        """
        with self._reading:
            rows = self._ws.fetch(
                "SELECT rowid FROM segments WHERE collection = (SELECT rowid FROM collections WHERE name = ?)"
                f" AND rowid > ? AND {self._searched} ORDER BY rowid DESC LIMIT ?",
                (self._collection, self._read_to, NEWEST),
            )
            new = np.fromiter((key for (key,) in reversed(rows)), dtype=np.int64, count=len(rows))
            wanted = np.concatenate([self._unencoded, new])[-NEWEST:]
            if not len(wanted):
                return
            self._unencoded = wanted
            with suppress(ModelNotFound):  # nobody has stored a vector of this encoder yet
                keys, vectors = embeddings_of(self._ws, self._manifest.fingerprint, wanted)
                self.vectors.add(keys, vectors)
                self._unencoded = np.setdiff1d(wanted, keys)
            self._read_to = max(self._read_to, int(wanted[-1]))
