"""Servers with a workspace over an index in Redis: what one writes, all find."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from protos.twinspire.v1 import items_pb2, search_pb2
from retrieval.collections import create_collection
from retrieval.errors import BackendUnavailable
from retrieval.index_types import choose_parameters
from retrieval.item_writes import upsert_items
from retrieval.items import Item
from retrieval.publishing import delete_version, list_versions, live_version, promote
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_items import RedisItems
from retrieval.redis_layout import REDIS_FILE, vector_keys
from retrieval.redis_server import RedisServer
from retrieval.removal import remove_collection
from tests.redis.serving import redis_parameters, served
from tests.server.running import Running, run_server
from tests.server.workspaces import COLLECTION, WORDS, build_version, make_workspace


@pytest.fixture
def running(server: RedisServer, tmp_path: Path) -> Iterator[Running]:
    """A server over a workspace whose index is in Redis."""
    with make_workspace(tmp_path / "workspace", parameters=redis_parameters()) as ws:
        yield from run_server(ws)


def test_a_search_finds_what_is_nearest(running: Running) -> None:
    assert running.ids("north", limit=1) == ["north"]


def test_scores_are_those_of_faiss(running: Running) -> None:
    words = "north east old"
    in_redis = running.find(words, limit=10)

    version = build_version(running.ws, parameters=choose_parameters(20, 13, overrides={"storage": "f32"}))
    in_faiss = running.find(words, limit=10, index_version=version)

    assert [hit.id for hit in in_redis.hits] == [hit.id for hit in in_faiss.hits]
    np.testing.assert_allclose(
        [hit.score for hit in in_redis.hits], [hit.score for hit in in_faiss.hits], atol=1e-5
    )


def test_an_upserted_item_is_found_at_once(running: Running) -> None:
    running.upsert(items_pb2.Item(id="fresh", text="blue old far"))

    assert running.ids("blue old far", limit=1) == ["fresh"]


def test_a_replaced_item_is_found_as_it_is_now(running: Running) -> None:
    running.upsert(items_pb2.Item(id="north", text="green"))

    assert "north" in running.ids("green", limit=2)
    assert running.find("north", limit=1).hits[0].score < 0.99


def test_a_deleted_item_is_not_found(running: Running) -> None:
    running.items.DeleteItems(
        items_pb2.DeleteItemsRequest(collection=COLLECTION, ids=items_pb2.ItemIds(ids=["north"]))
    )

    assert "north" not in running.ids("north", limit=50)


def test_hybrid_search_works(running: Running) -> None:
    query = search_pb2.Query(hybrid=search_pb2.HybridQuery(text="north"))

    assert running.ids(query=query, limit=1) == ["north"]


def test_items_lie_in_redis_with_the_version(running: Running, server: RedisServer) -> None:
    items = RedisItems(server, COLLECTION, 1)

    assert items.count() == 2 * len(WORDS) - 1
    assert items.get(["north"])["north"].parsed == {"length": 5}


def test_upserts_and_deletes_reach_redis(running: Running, server: RedisServer) -> None:
    running.upsert(items_pb2.Item(id="fresh", text="blue old far"))
    running.items.DeleteItems(
        items_pb2.DeleteItemsRequest(collection=COLLECTION, ids=items_pb2.ItemIds(ids=["north"]))
    )

    there = RedisItems(server, COLLECTION, 1).get(["fresh", "north"])
    assert list(there) == ["fresh"]


def test_promotion_switches_the_alias_in_redis(running: Running, server: RedisServer) -> None:
    catalog = RedisCatalog(server)
    before = live_version(running.ws, COLLECTION)
    assert catalog.alias(COLLECTION).version == before

    after = build_version(running.ws, parameters=redis_parameters())
    promote(running.ws, COLLECTION, after)

    assert catalog.alias(COLLECTION).version == after
    assert catalog.alias(COLLECTION).previous == before


def test_a_discarded_build_is_freed_after_its_grace(running: Running, server: RedisServer) -> None:
    old = live_version(running.ws, COLLECTION)
    promote(running.ws, COLLECTION, build_version(running.ws, parameters=redis_parameters()))
    keys = server.call("KEYS", "twinspire:*:vectors")
    assert old is not None

    delete_version(running.ws, COLLECTION, old)

    assert RedisCatalog(server).sweep() == 0
    assert sorted(server.call("KEYS", "twinspire:*:vectors")) == sorted(keys)
    server.run(
        [
            ("ZADD", "twinspire:trash", "XX", 0, member)
            for member in server.call("ZRANGE", "twinspire:trash", 0, -1)
        ]
    )
    assert RedisCatalog(server).sweep() == 1
    assert len(server.call("KEYS", "twinspire:*:vectors")) == len(keys) - 1


def test_of_a_collection_that_is_deleted_redis_keeps_what_servers_may_still_search(
    running: Running, server: RedisServer
) -> None:
    live = live_version(running.ws, COLLECTION)
    assert live is not None
    build = vector_keys((running.ws.indexes / COLLECTION / live / REDIS_FILE).read_text())

    remove_collection(running.ws, COLLECTION)

    known = {"twinspire:deleted", "twinspire:trash", *build.all()}
    assert {key.decode() for key in server.call("KEYS", "twinspire:*")} <= known
    assert RedisCatalog(server).deleted() == [COLLECTION]


def test_without_redis_nothing_is_deleted(tmp_path: Path) -> None:
    with served(tmp_path) as running:
        live, other = live_version(running.ws, COLLECTION), running.build()
        running.redis.kill()

        with pytest.raises(BackendUnavailable):
            remove_collection(running.ws, COLLECTION)
        with pytest.raises(BackendUnavailable):
            delete_version(running.ws, COLLECTION, other)

        assert live_version(running.ws, COLLECTION) == live
        assert [version.version for version in list_versions(running.ws, COLLECTION)] == [other, live]


def test_a_name_that_was_deleted_can_be_published_again(running: Running, server: RedisServer) -> None:
    remove_collection(running.ws, COLLECTION)
    create_collection(running.ws, COLLECTION)
    upsert_items(running.ws, COLLECTION, [Item("new", text="north")])
    promote(running.ws, COLLECTION, build_version(running.ws, parameters=redis_parameters(3)))

    catalog = RedisCatalog(server)
    assert (catalog.deleted(), catalog.collections()) == ([], [COLLECTION])
    assert RedisItems(server, COLLECTION, 3).count() == 1


def test_a_rebuild_gives_the_same_ids_and_scores(running: Running) -> None:
    running.upsert(items_pb2.Item(id="fresh", text="blue old far"))
    before = running.find("old far north", limit=15)

    version = build_version(running.ws, parameters=redis_parameters())
    after = running.find("old far north", limit=15, index_version=version)

    assert [hit.id for hit in before.hits] == [hit.id for hit in after.hits]
    np.testing.assert_allclose(
        [hit.score for hit in before.hits], [hit.score for hit in after.hits], atol=1e-5
    )
    assert len(list_versions(running.ws, COLLECTION)) == 2
