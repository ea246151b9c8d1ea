"""A server without a database: everything it answers comes from Redis."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.twinspire.v1 import collections_pb2, filters_pb2, items_pb2, search_pb2
from retrieval.index_types import IndexParameters
from retrieval.items import count_items, get_items
from retrieval.publishing import live_version, promote
from retrieval.redis_journal import drain_journal
from retrieval.redis_server import RedisServer
from retrieval.removal import remove_collection
from retrieval.workspace import Workspace
from server.mirror import RedisMirror
from tests.redis.serving import redis_parameters
from tests.server.running import Running, failure_of, run_server
from tests.server.workspaces import COLLECTION, WORDS, build_version, make_workspace


@contextmanager
def lone(models: Path) -> Iterator[Running]:
    with RedisMirror(models, interval_s=0.05) as mirror, ExitStack() as stack:
        running = run_server(mirror)
        stack.callback(lambda: list(running))
        yield next(running)


@pytest.fixture(params=[1, 3], ids=["1 partition", "3 partitions"])
def parameters(request: pytest.FixtureRequest) -> IndexParameters:
    return redis_parameters(request.param)


@pytest.fixture
def ws(server: RedisServer, tmp_path: Path, parameters: IndexParameters) -> Iterator[Workspace]:
    """A workspace whose index was published to Redis."""
    with make_workspace(tmp_path / "workspace", parameters=parameters) as ws:
        yield ws


@pytest.fixture
def running(ws: Workspace) -> Iterator[Running]:
    """A server that has the workspace's models, and nothing else of it."""
    with lone(ws.models) as running:
        yield running


def until(holds: Callable[[], bool], timeout_s: float = 5.0) -> float:
    """Wait until something holds; return for how long."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < timeout_s, "it never held"
        time.sleep(0.01)
    return time.monotonic() - started


def matching(attribute: str, value: int | bool) -> filters_pb2.Filter:
    match = filters_pb2.Match(attribute=attribute)
    any_of = match.any_of.add()
    if isinstance(value, bool):
        any_of.bool_value = value
    else:
        any_of.number_value = value
    return filters_pb2.Filter(must=[filters_pb2.Condition(match=match)])


def _finds_fresh(running: Running) -> bool:
    return running.ids("blue old far", limit=1) == ["fresh"]


def delete(running: Running, *ids: str) -> items_pb2.DeleteItemsResponse:
    request = items_pb2.DeleteItemsRequest(collection=COLLECTION, ids=items_pb2.ItemIds(ids=ids))
    return running.items.DeleteItems(request)


def test_it_answers_as_a_server_with_the_workspace_does(ws: Workspace, running: Running) -> None:
    for with_database in run_server(ws):
        expected = with_database.find("north east old", limit=15)

        found = running.find("north east old", limit=15)

        assert [(hit.id, hit.text, hit.score) for hit in found.hits] == [
            (hit.id, hit.text, hit.score) for hit in expected.hits
        ]
        assert found.index_version == expected.index_version
        break


def test_filters_work(running: Running) -> None:
    found = running.find("north", filter=matching("length", 4), limit=50)

    assert {hit.id for hit in found.hits} == {word for word in WORDS if len(word) == 4}


def test_more_like_an_item_works(running: Running) -> None:
    query = search_pb2.Query(item_id="north")

    assert "north-east" in running.ids(query=query, limit=3)


def test_items_can_be_got_listed_and_counted(running: Running) -> None:
    got = running.items.GetItems(items_pb2.GetItemsRequest(collection=COLLECTION, ids=["north", "none"]))
    listed = running.items.ListItems(items_pb2.ListItemsRequest(collection=COLLECTION, page_size=1000))
    counted = running.items.CountItems(
        items_pb2.CountItemsRequest(collection=COLLECTION, filter=matching("pair", True))
    )

    assert [item.text for item in got.items] == ["north"]
    assert list(got.missing_ids) == ["none"]
    assert len(listed.items) == 2 * len(WORDS) - 1
    assert counted.count == len(WORDS) - 1


def test_the_collection_is_told(running: Running, ws: Workspace) -> None:
    answer = running.collections.GetCollection(collections_pb2.GetCollectionRequest(collection=COLLECTION))

    assert answer.collection.item_count == 2 * len(WORDS) - 1
    assert answer.collection.live_version == live_version(ws, COLLECTION)


def test_an_upserted_item_is_found_at_once(running: Running) -> None:
    running.upsert(items_pb2.Item(id="fresh", text="blue old far"))

    assert running.ids("blue old far", limit=1) == ["fresh"]


def test_a_replaced_item_is_found_as_it_is_now(running: Running) -> None:
    running.upsert(items_pb2.Item(id="north", text="green"))

    assert "north" in running.ids("green", limit=2)
    assert running.find("north", limit=1).hits[0].score < 0.99


def test_changed_attributes_are_filtered_by(running: Running) -> None:
    item = items_pb2.Item(id="north", text="north")
    item.attributes["length"] = 77
    running.upsert(item)

    assert [hit.id for hit in running.find("north", filter=matching("length", 77)).hits] == ["north"]


def test_a_deleted_item_is_not_found(running: Running) -> None:
    assert delete(running, "north", "none").deleted == 1

    assert "north" not in running.ids("north", limit=50)


def test_two_servers_see_what_the_other_writes(running: Running, ws: Workspace) -> None:
    with lone(ws.models) as other:
        running.upsert(items_pb2.Item(id="fresh", text="blue old far"))
        assert other.ids("blue old far", limit=1) == ["fresh"]

        delete(other, "fresh")
        assert "fresh" not in running.ids("blue old far", limit=50)


def test_a_server_with_the_workspace_sees_what_one_without_wrote(running: Running, ws: Workspace) -> None:
    for with_database in run_server(ws):
        running.upsert(items_pb2.Item(id="fresh", text="blue old far"))

        until(partial(_finds_fresh, with_database))

        assert [item.text for item in get_items(ws, COLLECTION, ["fresh"])] == ["blue old far"]
        assert running.ids("blue old far", limit=1) == ["fresh"]
        break


def test_the_journal_becomes_items_of_the_database(running: Running, ws: Workspace) -> None:
    running.upsert(items_pb2.Item(id="fresh", text="blue old far"))
    delete(running, "north")
    before = count_items(ws, COLLECTION)

    drain_journal(ws, COLLECTION)

    assert count_items(ws, COLLECTION) == before
    assert [item.id for item in get_items(ws, COLLECTION, ["fresh", "north"])] == ["fresh"]
    assert drain_journal(ws, COLLECTION) == []


def test_a_promotion_is_noticed_and_no_search_fails(
    running: Running, ws: Workspace, parameters: IndexParameters
) -> None:
    version = build_version(ws, parameters=parameters)
    assert running.find("north").index_version != version

    promote(ws, COLLECTION, version)

    until(lambda: running.find("north").index_version == version)  # 0.4 s on an idle machine


def test_it_switches_versions_by_compare_and_set(
    running: Running, ws: Workspace, parameters: IndexParameters
) -> None:
    old = live_version(ws, COLLECTION)
    new = build_version(ws, parameters=parameters)
    promote(ws, COLLECTION, new)
    until(lambda: running.find("north").index_version == new)

    def set_live(version: str | None, expected: str | None) -> Any:
        request = collections_pb2.SetLiveVersionRequest(
            collection=COLLECTION, version=version or "", expected_version=expected or ""
        )
        return running.collections.SetLiveVersion(request)

    with pytest.raises(grpc.RpcError) as caught:
        set_live(old, old)
    set_live(old, new)

    assert failure_of(caught.value).reason == "VERSION_MOVED"
    assert running.find("north").index_version == old


def test_what_the_database_does_not_know_yet_outlives_a_promotion(
    running: Running, ws: Workspace, parameters: IndexParameters
) -> None:
    running.upsert(items_pb2.Item(id="fresh", text="blue old far"), items_pb2.Item(id="east", text="green"))
    delete(running, "north")

    version = build_version(ws, parameters=parameters)
    promote(ws, COLLECTION, version)
    until(partial(_answers_from, running, version))

    until(partial(_finds_fresh, running))
    assert "north" not in running.ids("north", limit=50)
    assert "east" in running.ids("green", limit=2)


def test_searches_and_writes_go_on_while_versions_change(
    running: Running, ws: Workspace, parameters: IndexParameters
) -> None:
    failed: list[Exception] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            try:
                assert running.ids("north", limit=1) == ["north"]
            except (grpc.RpcError, AssertionError) as error:
                failed.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(3):
        running.upsert(items_pb2.Item(id=f"fresh {number}", text="blue old far"))
        version = build_version(ws, parameters=parameters)
        promote(ws, COLLECTION, version)
        until(partial(_answers_from, running, version))
    stop.set()
    for thread in threads:
        thread.join()

    assert failed == []
    until(lambda: set(running.ids("blue old far", limit=3)) == {f"fresh {number}" for number in range(3)})


def _answers_from(running: Running, version: str) -> bool:
    return running.find("north").index_version == version


def test_a_collection_that_was_deleted_is_let_go(ws: Workspace, running: Running) -> None:
    assert running.ids("north", limit=1) == ["north"]

    remove_collection(ws, COLLECTION)

    until(lambda: COLLECTION not in running.server.live.served)
    with pytest.raises(grpc.RpcError) as caught:
        running.ids("north", limit=1)
    assert failure_of(caught.value).reason == "COLLECTION_NOT_FOUND"
