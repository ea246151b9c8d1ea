"""The Redis index: vector sets, one for each partition of a collection, searched together.

What it knows of its vectors by itself is in the version's folder (`keys.npy`, `redis.json`); the vectors are
in Redis, where other servers search them too. Live writes go to it by `add` and `remove`.
"""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BackendUnavailable, CorruptArtifact
from retrieval.exact_index import KEYS_FILE, check_queries, holds, load_keys
from retrieval.index import NO_KEY, Capabilities, Keys, Neighbors, Selection, Vectors
from retrieval.index_types import IndexParameters
from retrieval.planner import graph_effort
from retrieval.redis_answers import Found, fit, merged, ordered, scanned, vsim, widened
from retrieval.redis_layout import REDIS_FILE, VectorKeys
from retrieval.redis_planner import over_fetch_us, plan_filtered
from retrieval.redis_reach import EVERYWHERE, Reach
from retrieval.redis_server import Command, RedisServer, redis_server
from retrieval.redis_vectors import RedisVectors

# VSIM's COUNT, which crashes some versions when it is huge.
MAX_COUNT = 100_000
# Elements of one partition that a filter may match.
MAX_MATCHING = 10_000_000
# Below this effort a thread of its own costs a VSIM more than it gives.
THREADED_FROM = 128
# Connections that a batch is spread over where Redis searches in threads.
LANES = 4
# Quantised scores only choose candidates: this many for each hit are scored again from the vectors.
RESCORE_FACTOR = {"f32": 1, "sq8": 2, "bin": 10}
# Matching rows kept for queries that ask the same filter again.
MAX_KEPT_BYTES = 128 << 20


class RedisIndex:
    """Vectors in Redis. Implements `retrieval.index.Index`."""

    def __init__(
        self, server: RedisServer, where: VectorKeys, keys: Keys, parameters: IndexParameters, dims: int
    ) -> None:
        """Look at a build that is complete.

        Args:
            server: the Redis that holds it.
            where: its keys.
            keys: of the vectors that were built, ascending.
            parameters: what it was built with.
            dims: the width of a vector.
        """
        self.stored = RedisVectors(server, where, parameters, dims)
        self._server = server
        self.where = where
        self._keys = keys
        self._parameters = parameters
        self._dims = dims
        self._rows: WeakKeyDictionary[Selection, tuple[Keys, Vectors]] = WeakKeyDictionary()
        self._spent_us: WeakKeyDictionary[Selection, float] = WeakKeyDictionary()
        self._lock = threading.Lock()
        # What a search asks along, to save a round trip of its own, and who is told.
        self.along: tuple[Command, Callable[[Any], None]] | None = None

    @classmethod
    def open(cls, folder: Path, parameters: IndexParameters) -> "RedisIndex":
        """Open a version's folder; what Redis holds is compared with it at each search.

        Raises:
            CorruptArtifact: if the folder's files are not what they claim.
            NoRedisAddress: if nobody said where Redis is.
            BackendUnavailable: if Redis does not answer.
        """
        keys = load_keys(folder / KEYS_FILE)
        try:
            body = json.loads((folder / REDIS_FILE).read_text())
            where = VectorKeys(body["collection"], body["build"], body["partitions"])
            dims = int(body["dims"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifact(f"{REDIS_FILE} cannot be read") from error
        return cls(redis_server(), where, keys, parameters, dims)

    @property
    def dims(self) -> int:
        """The width of a vector."""
        return self._dims

    @property
    def keys(self) -> Keys:
        """The keys of all vectors, ascending: those built, and those added that `refresh` has seen."""
        return self._keys

    @property
    def capabilities(self) -> Capabilities:
        """What this index can do."""
        return Capabilities(
            backend="redis",
            filtered_search=True,
            exact_search=True,
            returns_vectors=True,
            memory_mapped=False,
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
        """Find the nearest vectors of each query; under a filter, as the planner thinks best."""
        reach = Reach(may_miss=allow_partial)
        found = self._search(queries, limit, selection, effort, exact, reach)
        return replace(found, partial=True) if reach.missed else found

    def _search(
        self,
        queries: Vectors,
        limit: int,
        selection: Selection | None,
        effort: int,
        exact: bool,
        reach: Reach,
    ) -> Neighbors:
        check_queries(queries, self._dims)
        queries = np.ascontiguousarray(queries, dtype="<f4")
        if not len(queries):
            return fit(np.empty((0, 0), np.int64), np.empty((0, 0), np.float32), limit, "redis")
        if selection is not None:
            return self._search_filtered(queries, limit, selection, effort, exact, reach)
        if exact and self._parameters.storage != "f32":
            return fit(*self.scan(queries, limit, self._keys, reach), limit, "redis, exact over all rows")
        found = self.nearest(queries, limit, effort, exact, reach)
        return fit(*found, limit, "redis exact" if exact else "redis hnsw")

    def nearest(
        self, queries: Vectors, limit: int, effort: int = 0, exact: bool = False, reach: Reach = EVERYWHERE
    ) -> Found:
        """Ask every partition for each query's nearest.

        Raises:
            IndexLost: if a partition holds another number of vectors than it should.
            BackendUnavailable: if Redis does not answer.
        """
        storage, effort = self._parameters.storage, effort or self._parameters.effort
        wanted = limit * RESCORE_FACTOR[storage]
        if storage == "bin":  # bits tell so little that all it met must be scored again
            wanted = max(wanted, effort)
        wanted = max(1, min(wanted, MAX_COUNT))
        effort = graph_effort(effort, wanted)
        # A VSIM in a thread beside a VREM may crash the versions that have that fault.
        threaded = (exact or effort >= THREADED_FROM) and not self._server.has_known_faults
        along = self.along
        commands: list[Command] = [] if along is None else [along[0]]
        first = len(commands)
        commands += self.stored.census()
        counting = len(commands)
        for partition in range(self.where.partitions):
            key = self.where.vectors(partition)
            commands += [vsim(key, query, wanted, 0 if exact else effort, threaded) for query in queries]
        replies = self.stored.ask(commands, reach, lanes=LANES if threaded else 1)
        if along is not None:
            along[1](replies[0])
        self.stored.check(replies[first:counting])
        answers = [() if isinstance(reply, BackendUnavailable) else reply for reply in replies[counting:]]
        found = merged(answers, len(queries), self.where.partitions, wanted)
        return found if storage == "f32" else self._rescored(queries, found[0], limit, reach)

    def _rescored(self, queries: Vectors, found: Keys, limit: int, reach: Reach) -> Found:
        """Score candidates again from the vectors as they were before quantisation."""
        wanted = np.unique(found[found != NO_KEY])
        known, rows = self.stored.fetch(wanted, reach)
        if not len(known):
            return np.full((len(queries), 0), NO_KEY), np.empty((len(queries), 0), np.float64)
        at = np.minimum(np.searchsorted(known, found), len(known) - 1)
        there = known[at] == found
        scores = np.where(there, np.einsum("ncd,nd->nc", rows[at], queries), np.float32(-np.inf))
        return ordered(np.where(there, found, NO_KEY), scores, limit)

    def _search_filtered(
        self, queries: Vectors, limit: int, selection: Selection, effort: int, exact: bool, reach: Reach
    ) -> Neighbors:
        matching = selection.keys
        plan = plan_filtered(
            queries=len(queries),
            count=max(1, len(self._keys)),
            matching=len(matching),
            limit=limit,
            effort=effort or self._parameters.effort,
            kept=selection in self._rows,
            exact=exact,
            spent_us=self._spent_us.get(selection, 0.0),
        )
        if plan.fetch == 0:
            return fit(*self.scan(queries, limit, matching, reach, selection), limit, plan.text)
        found, scores = self.nearest(queries, plan.fetch, effort, reach=reach)
        spent = len(queries) * over_fetch_us(effort or self._parameters.effort, plan.fetch)
        if len(matching) * self._dims * 4 <= MAX_KEPT_BYTES:
            self._spent_us[selection] = self._spent_us.get(selection, 0.0) + spent
        kept = holds(matching, found)
        poor = np.flatnonzero(kept.sum(axis=1) < min(limit, len(matching)))
        found, scores = ordered(np.where(kept, found, NO_KEY), np.where(kept, scores, -np.inf), limit)
        if len(poor):
            exact_keys, exact_scores = self.scan(queries[poor], limit, matching, reach, selection)
            found, scores = widened(found, scores, exact_keys.shape[1])
            found[poor], scores[poor] = NO_KEY, -np.inf
            found[poor, : exact_keys.shape[1]] = exact_keys
            scores[poor, : exact_keys.shape[1]] = exact_scores
        return fit(found, scores, limit, plan.text)

    def scan(
        self,
        queries: Vectors,
        limit: int,
        keys: Keys,
        reach: Reach = EVERYWHERE,
        selection: Selection | None = None,
    ) -> Found:
        """Fetch the vectors of some keys and compare each query with all of them."""
        kept = None if selection is None else self._rows.get(selection)
        if kept is not None:
            return scanned(*kept, queries, limit)
        best = np.full((len(queries), 0), NO_KEY), np.empty((len(queries), 0), np.float64)
        parts = []
        room = 0 if selection is None else MAX_KEPT_BYTES - sum(rows.nbytes for _, rows in self._kept())
        keep = len(keys) * self._dims * 4 <= room
        for part_keys, rows in self.stored.stream(keys, reach):
            found = scanned(part_keys, rows, queries, limit)
            both = np.concatenate([best[0], found[0]], axis=1), np.concatenate([best[1], found[1]], axis=1)
            best = ordered(*both, limit)
            if keep:
                parts.append((part_keys, rows))
        if keep and selection is not None and parts and reach.fault is None:
            whole = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
            with self._lock:
                self._rows[selection] = whole
        return best

    def _kept(self) -> list[tuple[Keys, Vectors]]:
        with self._lock:
            return list(self._rows.values())

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order."""
        wanted, order = np.unique(np.asarray(keys, dtype=np.int64), return_inverse=True)
        known, rows = self.stored.fetch(wanted)
        if len(known) != len(wanted):
            raise KeyError("a key is not in the index")
        return rows[order]

    def holds(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys have a vector in Redis now, shape (n,)."""
        known, _ = self.stored.fetch(np.unique(np.asarray(keys, dtype=np.int64)))
        return np.isin(keys, known)

    def add(self, keys: Keys, vectors: Vectors, attributes: Sequence[str]) -> None:
        """Add vectors, or replace those that are there, for every server that searches this build."""
        self.stored.add(keys, vectors, attributes)
        with self._lock:
            self._keys = np.union1d(self._keys, keys)

    def remove(self, keys: Keys) -> None:
        """Remove vectors, for every server that searches this build."""
        self.stored.remove(keys)

    def matching(self, expression: str, reach: Reach = EVERYWHERE) -> Keys:
        """Return the keys of all vectors whose attributes match a FILTER expression, ascending.

        TRUTH makes VSIM look at every element, so that none is missed, but where parts are away and may be.
        """
        any_vector = np.ones(self._dims, dtype="<f4").tobytes()
        how: tuple[str | int, ...] = ("COUNT", MAX_MATCHING, "TRUTH", "FILTER", expression)
        if self._server.has_known_faults:  # as in `nearest`
            how = (*how, "NOTHREAD")
        self.stored.check(self.stored.ask(self.stored.census(), reach))
        commands: list[Command] = [
            ("VSIM", self.where.vectors(partition), "FP32", any_vector, *how)
            for partition in range(self.where.partitions)
        ]
        replies = self.stored.ask(commands, reach, lanes=LANES)
        there = [reply for reply in replies if not isinstance(reply, BackendUnavailable)]
        return np.sort(np.array([int(name) for reply in there for name in reply], dtype=np.int64))

    def refresh(self) -> None:
        """Learn the keys that other servers added."""
        added = self.stored.added()
        with self._lock:
            self._keys = np.union1d(self._keys, added)

    def close(self) -> None:
        """Forget what is kept; connections are the process's."""
        with self._lock:
            self._rows.clear()
