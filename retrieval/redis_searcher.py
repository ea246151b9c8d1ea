"""Searching a Redis version beside a database: what is fresh goes to Redis, where every server finds it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Keys, Vectors
from retrieval.publishing import OpenIndex
from retrieval.redis_index import RedisIndex
from retrieval.redis_sharing import open_sharing
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace


def make_redis_searcher(ws: Workspace, collection: str, opened: OpenIndex) -> Searcher:
    """Make the searcher for a version in Redis: beside a database, or without one."""
    return RedisSearcher(ws, collection, opened)


class RedisSearcher(Searcher):
    """A searcher whose index takes live writes; rows and words come from the database."""

    def __init__(self, ws: Workspace, collection: str, opened: OpenIndex) -> None:
        """Take an open version and bring Redis in step with the database.

        Raises:
            BackendUnavailable: if Redis does not answer, or the database is locked.
        """
        assert isinstance(opened.index, RedisIndex)
        self._in_redis = opened.index
        self._sharing = open_sharing(ws, opened.version, opened.manifest)
        super().__init__(ws, collection, opened)

    @property
    def fresh_count(self) -> int:
        """How many vectors came after the build."""
        return len(self._in_redis.stored.added())

    def refresh(self) -> int:
        """Bring Redis in step with what was written to the database; return `fresh_count`."""
        self._sharing.catch_up()
        self._in_redis.refresh()
        return self.fresh_count

    def add_fresh(self, keys: Keys, vectors: Vectors) -> None:
        """Do nothing: `share` writes what was stored, with its item."""

    def share(self, ids: Sequence[str]) -> None:
        """Let every server find items that were just stored and encoded."""
        self._sharing.share(ids)
        self._in_redis.refresh()

    def forget(self, ids: Sequence[str]) -> None:
        """Let no server find items that were just deleted."""
        self._sharing.forget(ids)

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order."""
        return self._in_redis.vectors(keys)

    def has_vectors(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys have a stored vector, shape (n,)."""
        return self._in_redis.holds(keys)
