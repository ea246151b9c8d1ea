"""The vectors of one build in Redis: written, replaced, removed, fetched and counted.

VADD of an element that is there reaches neither the append-only file nor the replicas, so every write removes
first; both, and the count, happen in one script, which is one transaction.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from retrieval.backend_errors import IndexLost
from retrieval.errors import BackendUnavailable, InternalError
from retrieval.index import Keys, Vectors
from retrieval.index_types import IndexParameters
from retrieval.redis_layout import VectorKeys
from retrieval.redis_reach import EVERYWHERE, Reach
from retrieval.redis_server import Command, RedisServer
from retrieval.vector_checks import check_unit_vectors

QUANTISATION = {"f32": "NOQUANT", "sq8": "Q8", "bin": "BIN"}

# Rows that one script fetches: Redis does nothing else meanwhile.
FETCH_ROWS = 1000
# Rows held while they are compared.
STREAM_ROWS = 16_000
WRITE_ROWS = 256

# KEYS: vectors, state, added, floats. ARGV: name, vector, quantisation, EF, M, attributes, with floats, live
ADD = """
local was = redis.call('VREM', KEYS[1], ARGV[1])
redis.call(
  'VADD', KEYS[1], 'FP32', ARGV[2], ARGV[1], ARGV[3], 'EF', ARGV[4], 'SETATTR', ARGV[6], 'M', ARGV[5])
if ARGV[7] == '1' then redis.call('HSET', KEYS[4], ARGV[1], ARGV[2]) end
if was == 0 then redis.call('HINCRBY', KEYS[2], 'count', 1) end
redis.call('ZADD', KEYS[3], ARGV[1], ARGV[1])
return was"""

# KEYS: vectors, state, added, floats. ARGV: names
REMOVE = """
local gone = 0
for _, name in ipairs(ARGV) do
  gone = gone + redis.call('VREM', KEYS[1], name)
  redis.call('ZREM', KEYS[3], name)
  redis.call('HDEL', KEYS[4], name)
end
if gone > 0 then redis.call('HINCRBY', KEYS[2], 'count', -gone) end
return gone"""

# KEYS: vectors. ARGV: names. The vector as it was stored (of length 1) and its length before.
FETCH = """
local rows = {}
for place, name in ipairs(ARGV) do
  local found = redis.call('VEMB', KEYS[1], name, 'RAW')
  if found then rows[place] = found[2] else rows[place] = false end
end
return rows"""


class RedisVectors:
    """Reads and writes the vector sets of one build. Safe to use from several threads."""

    def __init__(
        self, server: RedisServer, where: VectorKeys, parameters: IndexParameters, dims: int
    ) -> None:
        """Take a build that is there, or is being made."""
        self._server = server
        self._where = where
        self._parameters = parameters
        self._dims = dims
        self._has_floats = parameters.storage != "f32"

    def _partition_keys(self, partition: int) -> tuple[str, str, str, str]:
        where = self._where
        return (
            where.vectors(partition),
            where.state(partition),
            where.added(partition),
            where.floats(partition),
        )

    def build_commands(self, keys: Keys, vectors: Vectors) -> list[Command]:
        """Make the commands that add new vectors to a build that nobody searches yet."""
        parameters = self._parameters
        quantisation = QUANTISATION[parameters.storage]
        how = (quantisation, "EF", parameters.ef_construction, "M", parameters.m)
        commands: list[Command] = []
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        for key, partition, row in zip(
            keys.tolist(), self._where.partition_of(keys).tolist(), rows, strict=True
        ):
            raw = row.tobytes()
            # Without CAS: an append-only file that holds it ends Redis 8.0.2 when that starts again.
            commands.append(("VADD", self._where.vectors(partition), "FP32", raw, str(key), *how))
            if self._has_floats:
                commands.append(("HSET", self._where.floats(partition), str(key), raw))
        return commands

    def add(self, keys: Keys, vectors: Vectors, attributes: Sequence[str]) -> None:
        """Add vectors, or replace those that are there.

        Args:
            keys: of the segments, n of them.
            vectors: unit rows, shape (n, dims).
            attributes: what FILTER sees of each, as JSON.

        Raises:
            DimensionMismatch: if the vectors are of another width.
            NonFiniteVector: if one holds NaN or infinity, which Redis would rank first.
            ZeroVector: if one is all zeros.
            StorageFull: if Redis is at its memory limit.
        """
        rows = np.ascontiguousarray(check_unit_vectors(vectors, self._dims), dtype="<f4")
        parameters = self._parameters
        quantisation, floats = QUANTISATION[parameters.storage], "1" if self._has_floats else "0"
        commands: list[Command] = [
            (
                "EVAL", ADD, 4, *self._partition_keys(partition), str(key), row.tobytes(), quantisation,
                parameters.ef_construction, parameters.m, shown, floats,
            )
            for key, partition, row, shown in zip(
                keys.tolist(), self._where.partition_of(keys).tolist(), rows, attributes, strict=True
            )
        ]  # fmt: skip
        for start in range(0, len(commands), WRITE_ROWS):
            self._server.run(commands[start : start + WRITE_ROWS])

    def set_attributes(self, keys: Sequence[int], attributes: Sequence[str]) -> None:
        """Tell what FILTER sees of vectors that are there; those that are not are left out."""
        commands: list[Command] = [
            ("VSETATTR", self._where.vectors(key % self._where.partitions), str(key), shown)
            for key, shown in zip(keys, attributes, strict=True)
        ]
        self._server.run(commands)

    def remove(self, keys: Keys) -> None:
        """Remove vectors; those that are not there are left out."""
        groups = self._by_partition(keys)
        self._server.run(
            [("EVAL", REMOVE, 4, *self._partition_keys(partition), *names) for partition, names in groups]
        )

    def _by_partition(self, keys: Keys) -> list[tuple[int, list[str]]]:
        partitions = self._where.partition_of(keys)
        groups = [
            (partition, [str(key) for key in keys[partitions == partition].tolist()])
            for partition in range(self._where.partitions)
        ]
        return [(partition, names) for partition, names in groups if names]

    def fetch(self, keys: Keys, reach: Reach = EVERYWHERE) -> tuple[Keys, Vectors]:
        """Fetch the vectors of the keys that are there.

        Args:
            keys: ascending.
            reach: whether parts may be away.

        Returns:
            The keys found, ascending, and their vectors, shape (n, dims).
        """
        commands: list[Command] = []
        asked: list[list[int]] = []
        for partition, names in self._by_partition(keys):
            for start in range(0, len(names), FETCH_ROWS):
                part = names[start : start + FETCH_ROWS]
                asked.append(list(map(int, part)))
                if self._has_floats:
                    commands.append(("HMGET", self._where.floats(partition), *part))
                else:
                    commands.append(("EVAL", FETCH, 1, self._where.vectors(partition), *part))
        there = [
            (key, row)
            for names, reply in zip(asked, self.ask(commands, reach), strict=True)
            if not isinstance(reply, BackendUnavailable)
            for key, row in zip(names, reply, strict=True)
            if row is not None
        ]
        found = np.array([key for key, _ in there], dtype=np.int64)
        if any(len(row) != 4 * self._dims for _, row in there):
            raise IndexLost(
                f"Redis holds a vector that is not of {self._dims} numbers: build the index again"
            )
        if len(there) < len(keys) and reach.fault is None:
            self.check(self.ask(self.census(), reach))  # some are gone, or all of it is
        vectors = np.frombuffer(b"".join([row for _, row in there]), dtype="<f4").reshape(-1, self._dims)
        order = np.argsort(found)
        return found[order], vectors[order].astype(np.float32)

    def stream(self, keys: Keys, reach: Reach = EVERYWHERE) -> Iterator[tuple[Keys, Vectors]]:
        """Fetch many vectors, some at a time, by ascending key."""
        for start in range(0, len(keys), STREAM_ROWS):
            yield self.fetch(keys[start : start + STREAM_ROWS], reach)

    def ask(self, commands: Sequence[Command], reach: Reach, *, lanes: int = 1) -> list[Any]:
        """Run commands that read; `Reach.ask` says how."""
        return reach.ask(self._server, commands, lanes=lanes)

    def added(self) -> Keys:
        """Return the keys that were added after the build, ascending."""
        replies = self._server.run(
            [("ZRANGE", self._where.added(partition), 0, -1) for partition in range(self._where.partitions)]
        )
        return np.sort(np.array([int(name) for reply in replies for name in reply], dtype=np.int64))

    def census(self) -> list[Command]:
        """Make the commands whose replies `check` reads."""
        commands: list[Command] = []
        for partition in range(self._where.partitions):
            commands.append(("HGET", self._where.state(partition), "count"))
            commands.append(("VCARD", self._where.vectors(partition)))
        return commands

    def check(self, replies: Sequence[Any]) -> None:
        """Compare what the partitions hold with what they should.

        Raises:
            IndexLost: if it is not the same: a missing key would answer like an empty index.
        """
        for expected, got in zip(replies[::2], replies[1::2], strict=True):
            if isinstance(expected, BackendUnavailable) or isinstance(got, BackendUnavailable):
                continue  # it is away, not lost
            if expected is None:
                raise IndexLost("Redis no longer holds the index: build it again (twinspire index)")
            # Writers are seen between the two: a handful of vectors is no loss.
            gone = int(got) == 0 < int(expected)
            if gone or abs(int(expected) - int(got)) > max(16, int(expected) // 100):
                raise IndexLost(
                    f"Redis holds {int(got)} vectors of a partition, expected {int(expected)}:"
                    " build the index again"
                )

    def finish(self, counts: Sequence[int]) -> None:
        """Write down what each partition holds, after a build.

        Raises:
            InternalError: if Redis counts otherwise.
        """
        commands: list[Command] = []
        for partition, count in enumerate(counts):
            commands.append(("HSET", self._where.state(partition), "count", count))
            commands.append(("VCARD", self._where.vectors(partition)))
        replies = self._server.run(commands)
        got = [int(reply) for reply in replies[1::2]]
        if got != list(counts):
            raise InternalError(f"Redis counts {sum(got)} vectors after {sum(counts)} were added")
