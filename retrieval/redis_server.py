"""Talking to one Redis: commands in bulk over several connections at once. What imports redis is here.

Its address is a secret (it may hold a password), so it comes from the environment, a file or a flag, and is
never printed.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import redis
from redis.exceptions import RedisError, ResponseError

from retrieval.errors import FailedPrecondition, UnusableWorkspace
from retrieval.redis_errors import RedisUnusable, translate_redis_errors

Command: TypeAlias = Sequence[str | bytes | int | float]

URL_VARIABLE = "TWINSPIRE_REDIS_URL"
URL_FILE_VARIABLE = "TWINSPIRE_REDIS_URL_FILE"  # for secrets that are mounted as files

MINIMUM_VERSION = (8, 0, 0)
# Before these, deleting a vector while it is being searched may crash the server.
SAFE_VERSIONS = ((8, 8, 2), (8, 10, 1))

_chosen_url = ""
_servers: dict[tuple[int, str], "RedisServer"] = {}


class NoRedisAddress(FailedPrecondition):
    """Nobody said where Redis is."""

    reason = "NO_REDIS_ADDRESS"

    def __init__(self) -> None:
        super().__init__(
            f"no address of Redis: give --redis-url, or set {URL_VARIABLE} or {URL_FILE_VARIABLE}"
        )


def use_redis(url: str) -> None:
    """Take this Redis for everything that follows in this process; "" goes back to the environment."""
    global _chosen_url
    _chosen_url = url


def redis_url() -> str:
    """Return the address of Redis as it was chosen, or as the environment or a file has it; "" if none.

    Raises:
        UnusableWorkspace: if the file cannot be read.
    """
    if _chosen_url or os.environ.get(URL_VARIABLE):
        return _chosen_url or os.environ[URL_VARIABLE]
    file = os.environ.get(URL_FILE_VARIABLE, "")
    try:
        return Path(file).read_text().strip() if file else ""
    except OSError as error:
        raise UnusableWorkspace(f"the file that {URL_FILE_VARIABLE} names cannot be read") from error


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


class RedisServer:
    """A Redis, safe to use from several threads."""

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        """Connect to nothing yet.

        Raises:
            RedisUnusable: if the url is none of Redis's.
        """
        try:
            self._pool = redis.ConnectionPool.from_url(
                url,
                protocol=2,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                max_connections=64,
            )
        except ValueError:
            raise RedisUnusable(
                "the address of Redis must begin with redis://, rediss:// or unix://"
            ) from None
        self.version: tuple[int, ...] = ()

    def check(self) -> None:
        """Find out whether this Redis can hold an index.

        Raises:
            BackendUnavailable: if it does not answer.
            RedisAccessDenied: if it refuses the password.
            RedisUnusable: if it has no vector sets.
        """
        told = self.information("server").get("redis_version", "0")
        self.version = tuple(int(part) for part in told.split(".")[:3] if part.isdigit())
        if self.version < MINIMUM_VERSION:
            raise RedisUnusable(f"this is Redis {told}: Redis 8 or later is needed, for its vector sets")
        self.call("VCARD", "twinspire:none")

    @property
    def has_known_faults(self) -> bool:
        """Whether this version may crash when vectors are deleted while they are searched."""
        return not (self.version >= SAFE_VERSIONS[1] or SAFE_VERSIONS[0] <= self.version < (8, 9, 0))

    def information(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        lines = self.call("INFO", section).decode(errors="replace").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def call(self, *command: str | bytes | int | float) -> Any:
        """Run one command.

        Raises:
            TwinspireError: as `redis_errors.translated` says.
        """
        return self.run([command])[0]

    def run(self, commands: Sequence[Command], *, lanes: int = 1) -> list[Any]:
        """Run many commands, in one round trip over each of some connections.

        Args:
            commands: in any number; within a lane they run in order.
            lanes: connections to spread them over, so that Redis can work on several at once.

        Returns:
            The replies, in the order of the commands.

        Raises:
            TwinspireError: as `redis_errors.translated` says, for the first command that failed.
        """
        if not commands:
            return []
        lanes = max(1, min(lanes, len(commands)))
        replies: list[Any] = [None] * len(commands)
        with translate_redis_errors():
            connections: list[Any] = []
            try:
                for lane in range(lanes):
                    connections.append(self._pool.get_connection())
                    packed = connections[lane].pack_commands(commands[lane::lanes])
                    connections[lane].send_packed_command(packed)
                for lane, connection in enumerate(connections):
                    replies[lane::lanes] = [_reply(connection) for _ in range(lane, len(commands), lanes)]
            except BaseException:
                for connection in connections:
                    connection.disconnect()  # what it still had to say belongs to nobody
                raise
            finally:
                for connection in connections:
                    self._pool.release(connection)
            fault = next((reply for reply in replies if isinstance(reply, RedisError)), None)
            if fault is not None:
                raise fault
        return replies

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect()


def _reply(connection: Any) -> Any:
    """Read one reply; an error reply is returned, for others follow it."""
    try:
        return connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
