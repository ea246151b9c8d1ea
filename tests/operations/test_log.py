"""What a real server logs, and what it does not."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from protos.twinspire.v1 import items_pb2, items_pb2_grpc, search_pb2, search_pb2_grpc
from retrieval.items import Item
from tests.server.workspaces import COLLECTION, make_workspace

TIMEOUT_S = 20.0
# In each secret stands where it was put, so that a leak says where it came from.
SECRET = "hunter2"
QUERY, BATCH, HYBRID, TEXT, ID, ATTRIBUTE, KEY, NAME, TOKEN, FILTER = (
    f"{SECRET}-in-a-{where}"
    for where in ("query", "batch", "hybrid", "text", "id", "note", "key", "name", "token", "filter")
)


@dataclass
class Logged:
    """The output of a server that has ended."""

    text: str
    status: int

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    root = tmp_path_factory.mktemp("logged") / "workspace"
    make_workspace(root, [Item("north", text="north")], broken_word="green").close()
    process = subprocess.Popen(
        [sys.executable, "-m", "twinspire", "--workspace", str(root), "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            tell_secrets(channel)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
    return Logged(told, process.returncode)


def query(text: str = QUERY, **fields: Any) -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text=text), **fields)


def tell_secrets(channel: grpc.Channel) -> None:
    """Search and write with texts that nobody else should read: first well, then badly."""
    search = search_pb2_grpc.SearchServiceStub(channel)
    items = items_pb2_grpc.ItemServiceStub(channel)
    item = items_pb2.Item(id=ID, text=TEXT)
    item.attributes["note"] = ATTRIBUTE
    upsert = items_pb2.UpsertItemsRequest(collection=COLLECTION, items=[item])
    hybrid = search_pb2.SearchRequest(collection=COLLECTION)
    hybrid.query.hybrid.text = HYBRID
    search.Search(query(), timeout=TIMEOUT_S, metadata=(("authorization", f"Bearer {KEY}"),))
    search.Search(hybrid, timeout=TIMEOUT_S)
    search.BatchSearch(search_pb2.BatchSearchRequest(requests=[query(BATCH)] * 3), timeout=TIMEOUT_S)
    list(items.UpsertItems(iter([upsert]), timeout=TIMEOUT_S))
    for work in failures(search, items):
        with pytest.raises(grpc.RpcError):
            work()


def failures(
    search: search_pb2_grpc.SearchServiceStub, items: items_pb2_grpc.ItemServiceStub
) -> list[Callable[[], Any]]:
    filtered = query()
    filtered.filter.must.add().match.attribute = FILTER
    broken = items_pb2.UpsertItemsRequest(
        collection=COLLECTION, items=[items_pb2.Item(id=ID, text=f"green {TEXT}")]
    )
    page = items_pb2.ListItemsRequest(collection=COLLECTION, page_token=TOKEN)
    requests = [
        query(limit=5000),
        query(f"green {QUERY}"),  # the encoder yields NaN: INTERNAL
        query(expected_encoder_fingerprint=NAME),
        filtered,
        search_pb2.SearchRequest(collection=NAME, query=search_pb2.Query(text=QUERY)),
    ]
    calls: list[Callable[[], Any]] = [
        lambda request=request: search.Search(request, timeout=TIMEOUT_S)  # type: ignore[misc]
        for request in requests
    ]
    return [
        *calls,
        lambda: list(items.UpsertItems(iter([broken]), timeout=TIMEOUT_S)),
        lambda: items.ListItems(page, timeout=TIMEOUT_S),
    ]


def test_no_text_no_id_and_no_key_is_logged(logged: Logged) -> None:
    assert [line for line in logged.text.splitlines() if SECRET in line] == []


def test_each_line_is_json_and_says_when_what_and_how_grave(logged: Logged) -> None:
    assert logged.lines
    assert all({"time", "level", "logger", "message"} <= set(line) for line in logged.lines)


def test_its_start_and_end_are_logged(logged: Logged) -> None:
    messages = [line["message"] for line in logged.lines]

    assert {"serving", "stopping", "stopped"} <= set(messages)
    assert logged.status == 0


def test_a_search_that_succeeds_is_not_logged(logged: Logged) -> None:
    assert len(logged.lines) < 12
