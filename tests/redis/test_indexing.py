"""`index --backend redis`: from items to a version in Redis, and what goes wrong on the way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.indexing import index_collection
from retrieval.backend_errors import IndexLost
from retrieval.errors import FailedPrecondition, StorageFull
from retrieval.local_redis import LocalRedis
from retrieval.opening import open_live
from retrieval.publishing import live_version, promote
from retrieval.redis_catalog import TRASH, RedisCatalog
from retrieval.redis_server import RedisServer, use_redis
from retrieval.search import VectorQuery
from retrieval.searcher import make_searcher
from retrieval.workspace import Workspace
from tests.server.workspaces import COLLECTION, direction, make_workspace


@pytest.fixture
def ws(server: RedisServer, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace whose live index is not in Redis yet."""
    with make_workspace(tmp_path / "workspace") as ws:
        yield ws


def first_hit(ws: Workspace, word: str) -> str:
    opened = open_live(ws, COLLECTION)
    assert opened is not None
    (result,) = make_searcher(ws, COLLECTION, opened).search([VectorQuery(vector=direction(word))])
    assert not isinstance(result, Exception)
    return result.hits[0].id


def test_an_index_in_redis_is_measured_and_live(ws: Workspace) -> None:
    report = index_collection(ws, COLLECTION, "compass", backend="redis")

    assert report.promoted
    assert report.parameters.recall >= 0.95
    assert first_hit(ws, "north") == "north"


def test_nothing_new_builds_nothing(ws: Workspace) -> None:
    first = index_collection(ws, COLLECTION, "compass", backend="redis")

    again = index_collection(ws, COLLECTION, "compass", backend="redis")

    assert again.nothing_new
    assert again.version == first.version


def test_what_redis_lost_is_built_again(ws: Workspace, server: RedisServer) -> None:
    first = index_collection(ws, COLLECTION, "compass", backend="redis")
    server.run([("DEL", key) for key in server.call("KEYS", "twinspire:*")])

    again = index_collection(ws, COLLECTION, "compass", backend="redis")

    assert again.version != first.version
    assert first_hit(ws, "north") == "north"


def test_a_lost_version_cannot_be_promoted(ws: Workspace, server: RedisServer) -> None:
    report = index_collection(ws, COLLECTION, "compass", backend="redis", promote=False)
    server.run([("DEL", key) for key in server.call("KEYS", "twinspire:*")])

    with pytest.raises(IndexLost):
        promote(ws, COLLECTION, report.version)

    assert live_version(ws, COLLECTION) != report.version


def test_old_versions_are_pruned_in_redis_too(ws: Workspace, server: RedisServer) -> None:
    for effort in (10, 20, 30):
        index_collection(ws, COLLECTION, "compass", backend="redis", overrides={"effort": effort}, keep=1)

    assert len(RedisCatalog(server).versions(COLLECTION)) == 2  # the live one, and the one to roll back to
    assert server.call("ZCARD", TRASH) == 1


def test_a_build_that_was_given_up_is_freed_later(ws: Workspace, server: RedisServer) -> None:
    index_collection(ws, COLLECTION, "compass", backend="redis", promote=False)
    assert server.call("ZCARD", TRASH) == 0

    RedisCatalog(server).begin('{"collection": "compass", "build": "gone", "partitions": 1, "dims": 4}')

    assert RedisCatalog(server).sweep() == 0
    assert server.call("ZCARD", TRASH) == 1


def test_the_number_of_partitions_stays(ws: Workspace) -> None:
    index_collection(ws, COLLECTION, "compass", backend="redis")

    with pytest.raises(FailedPrecondition, match="1 partitions"):
        index_collection(ws, COLLECTION, "compass", backend="redis", overrides={"partitions": 2})


def test_a_full_redis_fails_the_build_and_leaves_nothing(tmp_path: Path) -> None:
    with LocalRedis("--maxmemory-policy", "noeviction") as redis:
        use_redis(redis.url)
        try:
            server = RedisServer(redis.url)
            server.call("CONFIG", "SET", "maxmemory", "1")  # byte
            with make_workspace(tmp_path / "workspace") as ws:
                before = live_version(ws, COLLECTION)
                with pytest.raises(StorageFull):
                    index_collection(ws, COLLECTION, "compass", backend="redis")
                assert live_version(ws, COLLECTION) == before
            assert server.call("KEYS", "twinspire:*:vectors") == []
            server.close()
        finally:
            use_redis("")
