"""What is published to Redis: collections, their versions with all files, and which version is live.

A server without a database starts from here. The alias is switched by compare-and-set, in a script.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retrieval.errors import FailedPrecondition, VersionMoved, VersionNotFound
from retrieval.redis_layout import PREFIX, REDIS_FILE, VectorKeys, vector_keys
from retrieval.redis_server import RedisServer

COLLECTIONS = f"{PREFIX}:collections"
DELETED = f"{PREFIX}:deleted"  # collections that were deleted; what is merely gone was lost
TRASH = f"{PREFIX}:trash"

# A version that was deleted may still be searched by servers that have not noticed.
UNLINK_GRACE_S = 60.0
# A build that has not become a version by then was given up.
BUILD_GRACE_S = 24 * 3600.0

# Due times are told by Redis's clock alone: those of the machines around it may differ, or jump.
# KEYS: trash. ARGV: seconds, body.
THROW_AWAY = "return redis.call('ZADD', KEYS[1], redis.call('TIME')[1] + ARGV[1], ARGV[2])"

# KEYS: trash.
DUE = "return redis.call('ZRANGE', KEYS[1], '-inf', redis.call('TIME')[1], 'BYSCORE')"

# KEYS: alias, versions. ARGV: version, expected, whether to compare. Returns {live} if it moved, 0 without
# such a version, nil if all went well. Where nothing is live (any more), nothing can have moved.
FLIP = """
local live = redis.call('HGET', KEYS[1], 'version') or ''
if ARGV[3] == '1' and live ~= '' and live ~= ARGV[2] then return {live} end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 0 end
if live ~= ARGV[1] then redis.call('HSET', KEYS[1], 'version', ARGV[1], 'previous', live) end
return nil"""


@dataclass(frozen=True, slots=True)
class Alias:
    """What is live in Redis."""

    version: str
    previous: str


class RedisCatalog:
    """Reads and writes what is published. Safe to use from several threads and processes."""

    def __init__(self, server: RedisServer) -> None:
        """Look at a Redis."""
        self._server = server

    @staticmethod
    def _key(collection: str, what: str) -> str:
        return f"{PREFIX}:{{{collection}}}:{what}"

    def collections(self) -> list[str]:
        """Name the collections that were published."""
        return sorted(name.decode() for name in self._server.call("SMEMBERS", COLLECTIONS))

    def partitions(self, collection: str) -> int:
        """Return over how many partitions a collection is spread; 0 if it was never published."""
        return int(self._server.call("GET", self._key(collection, "partitions")) or 0)

    def claim_partitions(self, collection: str, partitions: int) -> None:
        """Fix the number of partitions: items lie by it, so it stays.

        Raises:
            FailedPrecondition: if the collection has another number.
        """
        self._server.call("SET", self._key(collection, "partitions"), partitions, "NX")
        if (there := self.partitions(collection)) != partitions:
            raise FailedPrecondition(
                f"collection {collection!r} lies in {there} partitions in Redis, not {partitions}:"
                f" index it with partitions={there}"
            )

    def publish(
        self, collection: str, version: str, files: Mapping[str, bytes], numeric: Sequence[str]
    ) -> None:
        """Put a version's files there; from now on it can become live.

        Args:
            collection: its name.
            version: its name.
            files: the version's folder, the manifest included.
            numeric: the attributes that have a number of their own in the version's vector sets.
        """
        flat = [part for name, body in files.items() for part in (name, body)]
        self._server.run(
            [
                ("DEL", self._key(collection, f"files:{version}")),
                ("HSET", self._key(collection, f"files:{version}"), *flat),
                ("HSET", self._key(collection, "versions"), version, json.dumps(sorted(numeric))),
                ("SADD", COLLECTIONS, collection),
                ("SREM", DELETED, collection),
            ]
        )

    def withdraw(self, collection: str) -> None:
        """Say that a collection was deleted: no server serves it any more."""
        self._server.run(
            [
                ("SADD", DELETED, collection),
                ("SREM", COLLECTIONS, collection),
                ("UNLINK", self._key(collection, "alias")),
            ]
        )

    def deleted(self) -> list[str]:
        """Name the collections that were deleted."""
        return sorted(name.decode() for name in self._server.call("SMEMBERS", DELETED))

    def forget_partitions(self, collection: str) -> None:
        """Let a collection that is empty be spread anew."""
        self._server.call("UNLINK", self._key(collection, "partitions"))

    def versions(self, collection: str) -> dict[str, frozenset[str]]:
        """Return the published versions, oldest first, with their numeric attributes."""
        reply = self._server.call("HGETALL", self._key(collection, "versions"))
        pairs = zip(reply[::2], reply[1::2], strict=True)
        return dict(sorted((_text(v), _names(n)) for v, n in pairs))

    def files(self, collection: str, version: str) -> dict[str, bytes]:
        """Return a version's files by name.

        Raises:
            VersionNotFound: if there is no such version.
        """
        reply = self._server.call("HGETALL", self._key(collection, f"files:{version}"))
        if not reply:
            raise VersionNotFound(f"collection {collection!r} has no index version {version!r} in Redis")
        return {name.decode(): body for name, body in zip(reply[::2], reply[1::2], strict=True)}

    def vector_keys(self, collection: str, version: str) -> VectorKeys:
        """Return where a version's vectors are.

        Raises:
            VersionNotFound: if there is no such version.
        """
        body = self._server.call("HGET", self._key(collection, f"files:{version}"), REDIS_FILE)
        if body is None:
            raise VersionNotFound(f"collection {collection!r} has no index version {version!r} in Redis")
        return vector_keys(body)

    def alias(self, collection: str) -> Alias:
        """Return what is live; empty if nothing is."""
        version, previous = self._server.call("HMGET", self._key(collection, "alias"), "version", "previous")
        return Alias(_text(version), _text(previous))

    def flip(self, collection: str, version: str, expected: str | None = None) -> None:
        """Make a version the live one, if the live one is still what the caller saw.

        Raises:
            VersionNotFound: if it was not published.
            VersionMoved: if another one is live than `expected`; None = whatever it is.
        """
        alias, versions = self._key(collection, "alias"), self._key(collection, "versions")
        compare = "0" if expected is None else "1"
        reply = self._server.call("EVAL", FLIP, 2, alias, versions, version, expected or "", compare)
        if isinstance(reply, list):
            live = _text(reply[0])
            raise VersionMoved(
                f"expected live version {expected or 'none'}, found {live or 'none'}", live_version=live
            )
        if reply is not None:
            raise VersionNotFound(f"collection {collection!r} has no index version {version!r} in Redis")

    def begin(self, body: str) -> None:
        """Let the build that this `redis.json` names be freed if it never becomes a version."""
        self._server.call("EVAL", THROW_AWAY, 1, TRASH, int(BUILD_GRACE_S), body)

    def keep(self, body: str) -> None:
        """Say that a build became a version."""
        self._server.call("ZREM", TRASH, body)

    def discard(self, collection: str, version: str, body: str) -> None:
        """Forget a version; the vectors that its `redis.json` names are freed after a grace, by `sweep`."""
        self._server.run(
            [
                ("EVAL", THROW_AWAY, 1, TRASH, int(UNLINK_GRACE_S), body),
                ("HDEL", self._key(collection, "versions"), version),
                ("UNLINK", self._key(collection, f"files:{version}")),
            ]
        )

    def sweep(self) -> int:
        """Free what was discarded and is past its grace; return how many builds that were."""
        due = self._server.call("EVAL", DUE, 1, TRASH)
        for body in due:
            where = vector_keys(body)
            self._server.run([*[("UNLINK", key) for key in where.all()], ("ZREM", TRASH, body)])
        return len(due)


def _text(raw: bytes | None) -> str:
    return raw.decode() if raw else ""


def _names(raw: bytes) -> frozenset[str]:
    return frozenset(json.loads(raw))
