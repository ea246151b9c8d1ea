"""Redis's errors as ours: one table, at the one edge where they come in."""

from typing import Any

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    InvalidResponse,
    MasterDownError,
    MaxConnectionsError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from retrieval.backend_errors import IndexLost as IndexLost
from retrieval.backend_errors import RedisAccessDenied, RedisUnusable
from retrieval.deadlines import time_left_s
from retrieval.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    InternalError,
    StorageFull,
    TwinspireError,
)

_RETRY = "Redis does not take this now: retry"

# redis-py's own classes, whose messages have lost their first word.
KINDS: tuple[tuple[type[Exception], type[TwinspireError], str], ...] = (
    # These are ConnectionErrors to redis-py, yet no retry mends them: they come first.
    (AuthenticationError, RedisAccessDenied, "Redis refuses the user or password"),
    (AuthorizationError, RedisAccessDenied, "Redis refuses the user"),
    (NoPermissionError, RedisAccessDenied, "Redis's access list forbids a command that is needed"),
    (InvalidResponse, RedisUnusable, "what answers at the address of Redis is no Redis"),
    (OutOfMemoryError, StorageFull, "Redis is at its memory limit: raise maxmemory or delete something"),
    (ReadOnlyError, BackendUnavailable, "Redis is a replica here, which takes no writes: retry"),
    (BusyLoadingError, BackendUnavailable, "Redis is loading its data: retry"),
    (MasterDownError, BackendUnavailable, "the primary of this Redis is down: retry"),
    (ClusterDownError, BackendUnavailable, "a part of the Redis Cluster is down: retry"),
    (MovedError, BackendUnavailable, "this Redis Cluster was reached as if it were one server"),
    (AskError, BackendUnavailable, _RETRY),
    (TryAgainError, BackendUnavailable, _RETRY),
    (MaxConnectionsError, BackendUnavailable, "too many searches ask Redis at once: retry"),
)
# What the first words of other error replies mean. Redis's own messages may name keys and addresses, so they
# are not passed on.
REPLIES: tuple[tuple[str, type[TwinspireError], str], ...] = (
    ("NOAUTH", RedisAccessDenied, "Redis wants a password"),
    ("WRONGPASS", RedisAccessDenied, "Redis refuses the user or password"),
    ("OOM", StorageFull, "Redis is at its memory limit: raise maxmemory or delete something"),
    ("BUSY", BackendUnavailable, "Redis is busy with a script: retry"),
    ("MISCONF", BackendUnavailable, "Redis cannot persist, so it takes no writes: see its log"),
    ("NOREPLICAS", BackendUnavailable, "Redis has too few replicas to take writes: retry"),
    ("max number of clients", BackendUnavailable, "Redis has as many clients as it takes: retry"),
    ("WRONGTYPE", RedisUnusable, "a key of the index holds another kind of value"),
    ("unknown command", RedisUnusable, "this Redis has no vector sets: Redis 8 or later is needed"),
    ("unknown subcommand", RedisUnusable, "this is not Redis 8 or later"),
)


def translated(error: Exception) -> TwinspireError:
    """Say in our words what went wrong with Redis.

    >>> from redis.exceptions import ResponseError
    >>> translated(ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"))
    RedisUnusable('a key of the index holds another kind of value')
    """
    for cause, kind, said in KINDS:
        if isinstance(error, cause):
            return kind(said)
    message = str(error)
    for beginning, kind, said in REPLIES:
        if message.removeprefix("ERR ").startswith(beginning) or f"{beginning} " in message[:200]:
            return kind(said)
    if isinstance(error, ConnectionError | TimeoutError | OSError) and time_left_s() == 0:
        return DeadlineExceeded("the deadline passed while Redis was asked")
    if isinstance(error, TimeoutError):
        return BackendUnavailable("Redis did not answer in time: retry")
    if isinstance(error, ConnectionError | RedisClusterException | OSError):
        return BackendUnavailable("Redis cannot be reached: retry")
    if isinstance(error, ResponseError):
        return InternalError(f"Redis refused a command: {type(error).__name__}")
    return InternalError(f"Redis failed: {type(error).__name__}")


def settled(reply: Any, partial: bool = False) -> Any:
    """Return a reply; raise what is an error, unless it may be missing and says only that Redis is away.

    Raises:
        TwinspireError: as `translated` says.
    """
    if not isinstance(reply, RedisError | RedisClusterException | OSError):
        return reply
    error = translated(reply)
    if partial and isinstance(error, BackendUnavailable):
        return error
    raise error
