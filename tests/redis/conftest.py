"""Fixtures over a real Redis: `redis_url` (of tests/conftest.py), `server`, `lone_redis`."""

from collections.abc import Iterator

import pytest

from retrieval.local_redis import LocalRedis
from retrieval.redis_server import RedisServer


@pytest.fixture
def server(redis_backend: str) -> Iterator[RedisServer]:
    """A connection to the shared Redis, emptied of what earlier tests left there."""
    server = RedisServer(redis_backend)
    server.check()
    ours = server.call("KEYS", "twinspire:*")
    server.run([("UNLINK", key) for key in ours])
    yield server
    server.close()


@pytest.fixture
def lone_redis() -> Iterator[LocalRedis]:
    """A Redis of this test alone, to be stopped, filled or broken."""
    with LocalRedis() as redis:
        yield redis
