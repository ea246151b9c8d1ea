import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.collections import create_collection
from retrieval.local_redis import LocalRedis
from retrieval.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An open workspace with the empty collection "c"."""
    with Workspace(tmp_path / "workspace", create=True) as ws:
        create_collection(ws, "c")
        yield ws


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The address of a real Redis >= 8: a given one, or one that runs for this test process alone."""
    given = os.environ.get("TWINSPIRE_TEST_REDIS_URL", "")
    if given:
        yield given
        return
    with LocalRedis() as redis:
        yield redis.url


@pytest.fixture
def redis_backend(redis_url: str) -> Iterator[str]:
    """Let everything in this process use that Redis; the keys of earlier tests may be there."""
    from retrieval.redis_server import use_redis

    use_redis(redis_url)
    yield redis_url
    use_redis("")
