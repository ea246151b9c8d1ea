"""The doctor's look at Redis. Its address is never printed: it may hold a password."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from retrieval.errors import MissingExtra, TwinspireError
from retrieval.redis_address import redis_is_given
from twinspire.checks import Check

if TYPE_CHECKING:
    from retrieval.redis_health import RedisHealth

_MIB = 1 << 20


def check_redis() -> Iterator[Check]:
    """Is the Redis that was named well, if one was?"""
    try:
        if not redis_is_given():
            return
        health = _health()
    except MissingExtra as error:
        yield Check("Redis", "failed", "its client is not installed", str(error))
        return
    except TwinspireError as error:
        remedy = "look whether it runs, and at TWINSPIRE_REDIS_URL: host, port, user and password"
        yield Check("Redis", "failed", f"{error.reason}: {error}", remedy)
        return
    where = f"a cluster of {health.nodes} primaries" if health.is_cluster else "one server"
    yield Check("Redis", "ok", f"{health.version}, {where}")
    kept = "append-only file" if health.append_only else "no append-only file"
    yield Check("Redis keeps", "ok", f"{_memory(health)}, eviction policy {health.eviction_policy}, {kept}")
    for concern in health.concerns:
        yield Check("Redis concern", "warning", concern.found, concern.remedy)
    for collection, size in health.collection_bytes.items():
        yield Check(f"{collection}: in Redis", "ok", f"{size / _MIB:,.1f} MiB")


def _health() -> "RedisHealth":
    try:
        from retrieval.redis_health import redis_health
        from retrieval.redis_server import redis_server
    except ImportError as error:
        raise MissingExtra("Redis", "redis") from error
    return redis_health(redis_server())


def _memory(health: "RedisHealth") -> str:
    used = f"{health.used_bytes / _MIB:,.1f} MiB"
    return f"{used} of {health.max_bytes / _MIB:,.0f}" if health.max_bytes else f"{used}, no limit"
