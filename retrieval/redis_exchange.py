"""One exchange with Redis: commands out over several connections at once, then all the replies."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from retrieval.deadlines import time_left_s

Command: TypeAlias = Sequence[str | bytes | int | float]
Batch: TypeAlias = tuple[redis.ConnectionPool, Sequence[Command]]


class NotSent(ConnectionError):
    """The connection could not be made, so the commands had no effect."""


def exchange(batches: Sequence[Batch]) -> list[list[Any]]:
    """Send each batch over a connection of its own, then read what they answer: they work at the same time.

    Waits no longer than the pool's timeout, or until the deadline of this thread's work.

    Returns:
        The replies of each batch. A command that failed has its error in the place of its reply; where a
        connection was lost, all commands that it had not answered have.
    """
    lines = [_Line(*batch) for batch in batches]
    with _given_back(lines):
        for line in lines:
            line.send()
        return [line.read() for line in lines]


@contextmanager
def _given_back(lines: Sequence["_Line"]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for line in lines:
            line.cut()  # what it still had to say belongs to nobody
        raise
    finally:
        for line in lines:
            line.give_back()


class _Line:
    """A connection, for as long as a batch needs it."""

    def __init__(self, pool: redis.ConnectionPool, commands: Sequence[Command]) -> None:
        self._pool = pool
        self._commands = commands
        self._connection: Any = None
        self._fault: Exception | None = None

    def send(self) -> None:
        try:
            self._connection = self._pool.get_connection()
        except (AuthenticationError, AuthorizationError) as error:
            self._fault = error
            return
        except (ConnectionError, TimeoutError, OSError) as error:
            self._fault = NotSent(str(error))
            return
        except RedisError as error:
            self._fault = error
            return
        try:
            packed = self._connection.pack_commands(self._commands)
            self._connection.send_packed_command(packed)
        except (RedisError, OSError) as error:
            self._lose(error)

    def read(self) -> list[Any]:
        replies: list[Any] = []
        for _ in self._commands:
            if self._fault is None:
                replies.append(self._reply())
            else:
                replies.append(self._fault)
        return replies

    def _reply(self) -> Any:
        left_s = time_left_s()
        limit = {} if left_s is None else {"timeout": max(left_s, 1e-3)}
        try:
            return self._connection.read_response(disconnect_on_error=False, **limit)
        except ResponseError as error:
            return error  # the next reply follows it
        except (RedisError, OSError) as error:
            self._lose(error)
            return error

    def _lose(self, error: Exception) -> None:
        self._fault = error
        self.cut()

    def cut(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()

    def give_back(self) -> None:
        if self._connection is not None:
            self._pool.release(self._connection)
            self._connection = None


def timed_out(error: Exception) -> bool:
    """Tell whether an error means that the answer was waited for in vain."""
    return isinstance(error, TimeoutError)
