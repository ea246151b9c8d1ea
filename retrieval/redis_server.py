"""Talking to Redis, alone or a cluster: commands in bulk over several connections at once.

Its address is a secret (it may hold a password), so it comes from the environment, a file or a flag, and is
never printed.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.connection import parse_url

from retrieval.backend_errors import RedisUnusable
from retrieval.redis_address import NoRedisAddress as NoRedisAddress
from retrieval.redis_address import redis_url
from retrieval.redis_address import use_redis as use_redis
from retrieval.redis_cluster import RedisCluster
from retrieval.redis_errors import settled
from retrieval.redis_exchange import Command as Command
from retrieval.redis_exchange import exchange
from retrieval.redis_topology import Address

MINIMUM_VERSION = (8, 0, 0)
# Before these, deleting a vector while it is being searched may crash the server.
SAFE_VERSIONS = ((8, 8, 2), (8, 10, 1))

CONNECT_TIMEOUT_S = 1.0


def is_patched(version: Sequence[int]) -> bool:
    """Tell whether the use-after-free of vector sets is mended in a version.

    >>> is_patched((8, 8, 2)), is_patched((8, 10, 0)), is_patched((8, 10, 1)), is_patched((8, 0, 2))
    (True, False, True, False)
    """
    first, later = SAFE_VERSIONS
    return tuple(version) >= later or first <= tuple(version) < (first[0], first[1] + 1)


_servers: dict[tuple[int, str], "RedisServer"] = {}


def redis_server() -> "RedisServer":
    """Return the Redis of this process, connecting at the first use.

    Raises:
        NoRedisAddress: if nobody said where it is.
        BackendUnavailable: if it does not answer.
        RedisAccessDenied: if it refuses the password.
        RedisUnusable: if it has no vector sets.
    """
    url = redis_url()
    if not url:
        raise NoRedisAddress
    key = (os.getpid(), url)
    if key not in _servers:
        server = RedisServer(url)
        server.check()
        _servers[key] = server
    return _servers[key]


class OneRedis:
    """The link to a Redis that stands alone. Safe to use from several threads."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool

    def run(self, commands: Sequence[Command], *, lanes: int = 1, partial: bool = False) -> list[Any]:
        """Run many commands; `RedisServer.run` says how."""
        lanes = max(1, min(lanes, len(commands)))
        answers = exchange([(self._pool, commands[lane::lanes]) for lane in range(lanes)])
        replies: list[Any] = [None] * len(commands)
        for lane, own in enumerate(answers):
            replies[lane::lanes] = own
        return [settled(reply, partial) for reply in replies]

    def call_everywhere(self, *command: str) -> list[Any]:
        """Run a command at the one node there is."""
        return self.run([command])

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect()


class RedisServer:
    """A Redis, or a Redis Cluster, which is used in the same way. Safe to use from several threads."""

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        """Connect to nothing yet.

        Args:
            url: as redis-py takes it; it may name several nodes of a cluster: redis://user:password@a:1,b:2.
            timeout_s: how long to wait for an answer.

        Raises:
            RedisUnusable: if the url is none of Redis's.
        """
        settings = {
            "protocol": 2,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(timeout_s, CONNECT_TIMEOUT_S),
            "max_connections": 64,
        }
        seeds, parsed = parse_address(url)
        self._settings = {**settings, **parsed}
        self._seeds = seeds
        self._link: OneRedis | RedisCluster
        if len(seeds) > 1:
            self._link = RedisCluster(seeds, **self._settings)
        else:
            self._link = OneRedis(redis.ConnectionPool(**self._settings))
        self.version: tuple[int, ...] = ()  # of the oldest node

    def check(self) -> None:
        """Find out whether this Redis can hold an index, and whether it is a cluster.

        Raises:
            BackendUnavailable: if it does not answer.
            RedisAccessDenied: if it refuses the password.
            RedisUnusable: if it has no vector sets.
        """
        if self.information("cluster").get("cluster_enabled") == "1" and isinstance(self._link, OneRedis):
            self._link.close()
            self._link = RedisCluster(self._seeds, **self._settings)
        told = [node.get("redis_version", "0") for node in self.informations("server")]
        versions = [tuple(int(part) for part in each.split(".")[:3] if part.isdigit()) for each in told]
        self.version, oldest = min(zip(versions, told, strict=True))
        if self.version < MINIMUM_VERSION:
            raise RedisUnusable(f"this is Redis {oldest}: Redis 8 or later is needed, for its vector sets")
        self.call("VCARD", "twinspire:none")

    @property
    def is_cluster(self) -> bool:
        """Whether it is a Redis Cluster, as far as is known before `check`."""
        return isinstance(self._link, RedisCluster)

    @property
    def has_known_faults(self) -> bool:
        """Whether this version may crash when vectors are deleted while they are searched."""
        return not is_patched(self.version)

    def information(self, section: str) -> dict[str, str]:
        """Return a section of INFO, of any node."""
        return _as_dict(self.call("INFO", section))

    def informations(self, section: str) -> list[dict[str, str]]:
        """Return a section of INFO of each node that serves some part."""
        return [_as_dict(reply) for reply in self._link.call_everywhere("INFO", section)]

    def call(self, *command: str | bytes | int | float) -> Any:
        """Run one command.

        Raises:
            TwinspireError: as `redis_errors.translated` says.
        """
        return self.run([command])[0]

    def run(self, commands: Sequence[Command], *, lanes: int = 1, partial: bool = False) -> list[Any]:
        """Run many commands, in one round trip over each of some connections.

        Args:
            commands: in any number; within a lane they run in order.
            lanes: connections to each node to spread them over, so that Redis can work on several at once.
            partial: do not fail where a node is away, and do not wait for it.

        Returns:
            The replies, in the order of the commands; if `partial`, the `BackendUnavailable` of a command
            in the place of its reply.

        Raises:
            TwinspireError: as `redis_errors.translated` says, for the first command that failed.
        """
        return self._link.run(commands, lanes=lanes, partial=partial) if commands else []

    def close(self) -> None:
        """Close all connections."""
        self._link.close()


def parse_address(url: str) -> tuple[list[Address], dict[str, Any]]:
    """Read where the nodes are, and the settings that hold for each of them.

    Raises:
        RedisUnusable: if the url is none of Redis's.

    >>> parse_address("redis://a:1,b:2")[0]
    [('a', 1), ('b', 2)]
    """
    parse: Callable[[str], dict[str, Any]] = parse_url
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, hosts = place.rpartition("@")
    try:
        if scheme == "unix":
            return [], dict(parse(url))
        found = [dict(parse(f"{scheme}://{user}{at}{host}{slash}{path}")) for host in hosts.split(",")]
    except ValueError:
        raise RedisUnusable("the address of Redis must begin with redis://, rediss:// or unix://") from None
    return [(str(each.get("host", "localhost")), int(each.get("port", 6379))) for each in found], found[0]


def _as_dict(reply: bytes) -> dict[str, str]:
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
