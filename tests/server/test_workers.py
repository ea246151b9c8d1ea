"""Several workers behind one port: what one acknowledged every one finds; a dead one is replaced."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from protos.twinspire.v1 import items_pb2, items_pb2_grpc, search_pb2, search_pb2_grpc
from retrieval.items import Item
from retrieval.workspace import Workspace
from server.config import ServerConfig
from server.keys import add_key
from server.permissions import Role
from tests.server.workspaces import COLLECTION, make_workspace

WORKERS = 2
TIMEOUT_S = 20.0
CONNECTIONS = 12  # the kernel chooses a worker for each, so that hardly ever all get the same


class Fleet:
    """`twinspire serve --workers` as a process, and connections to it."""

    def __init__(self, workspace: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "twinspire", "--workspace", str(workspace), "serve"]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--workers", str(WORKERS), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()
        self.target = self.said.rpartition(" ")[2]
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channels = [grpc.insecure_channel(self.target, options=options) for _ in range(CONNECTIONS)]

    def search(self, text: str, connection: int) -> search_pb2.SearchResponse:
        request = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text=text), limit=3)
        stub = search_pb2_grpc.SearchServiceStub(self.channels[connection])
        answer: search_pb2.SearchResponse = stub.Search(request, timeout=TIMEOUT_S, wait_for_ready=True)
        return answer

    def upsert(self, id: str, text: str, connection: int) -> None:
        request = items_pb2.UpsertItemsRequest(
            collection=COLLECTION, items=[items_pb2.Item(id=id, text=text)]
        )
        stub = items_pb2_grpc.ItemServiceStub(self.channels[connection])
        list(stub.UpsertItems(iter([request]), timeout=TIMEOUT_S))

    def delete(self, id: str, connection: int) -> None:
        ids = items_pb2.ItemIds(ids=[id])
        stub = items_pb2_grpc.ItemServiceStub(self.channels[connection])
        stub.DeleteItems(items_pb2.DeleteItemsRequest(collection=COLLECTION, ids=ids), timeout=TIMEOUT_S)

    def workers(self) -> list[int]:
        """List the processes that serve."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        names = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
        return [pid for pid, name in names.items() if "spawn_main" in name]

    def close(self) -> None:
        for channel in self.channels:
            channel.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=TIMEOUT_S)


def metrics_port() -> int:
    """Return a port of this test process's own."""
    return 20_000 + os.getpid() % 10_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet") / "workspace"
    make_workspace(folder).close()
    fleet = Fleet(folder, "--metrics-port", str(metrics_port()))
    yield fleet
    fleet.close()


def test_workers_share_the_connections_of_one_port(fleet: Fleet) -> None:
    prefixes = {fleet.search("north", at).search_id.partition("-")[0] for at in range(CONNECTIONS)}
    assert len(prefixes) == WORKERS


def test_an_upserted_item_is_found_by_the_next_search_on_any_worker(fleet: Fleet) -> None:
    for at in range(CONNECTIONS):
        fleet.upsert(f"new-{at}", "up old red", at)
        for other in range(CONNECTIONS):
            ids = {hit.id for hit in fleet.search("up old red", other).hits}
            assert f"new-{at}" in ids, (at, other)
        fleet.delete(f"new-{at}", at)


def test_a_replaced_item_is_found_by_its_new_text_on_any_worker(fleet: Fleet) -> None:
    for at in range(CONNECTIONS):
        fleet.upsert("turning", "down green" if at % 2 else "far west", at)
        text = "down green" if at % 2 else "far west"
        other = (at + 1) % CONNECTIONS
        hit = fleet.search(text, other).hits[0]
        assert (hit.id, hit.text) == ("turning", text)
    fleet.delete("turning", 0)


def test_a_deleted_item_is_found_on_no_worker(fleet: Fleet) -> None:
    fleet.upsert("gone", "blue far", 0)
    fleet.delete("gone", 1)
    found = [hit.id for at in range(CONNECTIONS) for hit in fleet.search("blue far", at).hits]
    assert "gone" not in found


def test_metrics_are_those_of_all_workers(fleet: Fleet) -> None:
    for at in range(CONNECTIONS):
        fleet.search("north", at)
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port()}/metrics", timeout=TIMEOUT_S) as answer:
        families: Any = text_string_to_metric_families(answer.read().decode())
    samples = [sample for family in families for sample in family.samples]
    searches = [sample for sample in samples if sample.name == "twinspire_requests_total"]
    assert {sample.labels["worker"] for sample in searches} == {"0", "1"}
    assert sum(sample.value for sample in searches) >= CONNECTIONS


def test_a_worker_that_dies_is_replaced(fleet: Fleet) -> None:
    victim = fleet.workers()[0]
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + TIMEOUT_S
    while victim in fleet.workers() or len(fleet.workers()) < WORKERS:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for at in range(CONNECTIONS):
        retry_search(fleet, at, deadline)


def retry_search(fleet: Fleet, connection: int, deadline: float) -> None:
    """Search as a client that tries again what was UNAVAILABLE."""
    while time.monotonic() < deadline:
        try:
            assert fleet.search("north", connection).hits[0].id == "north"
            return
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
    raise TimeoutError


def test_a_second_server_on_the_port_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    make_workspace(tmp_path / "workspace").close()
    command = [sys.executable, "-m", "twinspire", "--workspace", str(tmp_path / "workspace"), "serve"]
    port = fleet.target.rpartition(":")[2]
    for workers in ("1", "2"):
        second = subprocess.run(
            [*command, "--port", port, "--workers", workers], capture_output=True, text=True, check=False
        )
        assert second.returncode != 0
        assert "another server" in second.stderr


def test_terminating_the_starter_ends_all_workers(tmp_path: Path) -> None:
    make_workspace(tmp_path / "workspace").close()
    fleet = Fleet(tmp_path / "workspace")
    workers = fleet.workers()
    fleet.close()
    assert fleet.process.returncode == 0
    assert len(workers) == WORKERS
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_workers_end_when_their_starter_is_killed(tmp_path: Path) -> None:
    make_workspace(tmp_path / "workspace").close()
    fleet = Fleet(tmp_path / "workspace")
    workers = fleet.workers()
    fleet.process.kill()
    deadline = time.monotonic() + TIMEOUT_S
    while [pid for pid in workers if Path(f"/proc/{pid}/exe").exists()]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    fleet.close()


def test_a_workspace_that_is_not_there_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "twinspire", "--workspace", str(tmp_path / "none"), "serve"]
    failed = subprocess.run(
        [*command, "--port", "0", "--workers", "2"], capture_output=True, text=True, check=False
    )
    assert failed.returncode != 0
    assert "worker" in failed.stderr


def test_a_search_finds_what_another_process_stored(tmp_path: Path) -> None:
    """Without the watcher: the search itself notices."""
    from retrieval.embeddings import put_embeddings
    from retrieval.item_writes import upsert_items
    from retrieval.opening import open_live
    from retrieval.search import SearchResult, VectorQuery
    from retrieval.searcher import Searcher
    from retrieval.segments import pending_segments
    from tests.server.workspaces import direction

    with make_workspace(tmp_path / "workspace") as ws, Workspace(ws.root) as other:
        opened = open_live(ws, COLLECTION)
        assert opened is not None
        searcher = Searcher(ws, COLLECTION, opened)
        fingerprint = opened.manifest.fingerprint
        for number in range(3):  # replaced each time: SQLite gives the last rowid out again
            upsert_items(other, COLLECTION, [Item("fresh", text="north " * (number + 1))])
            searcher.search([VectorQuery(vector=direction("north"))])  # sees it without a vector
            ((key, _),) = pending_segments(other, COLLECTION, fingerprint, limit=10)
            put_embeddings(other, fingerprint, [key], direction("north")[None])
            (result,) = searcher.search([VectorQuery(vector=direction("north"), limit=3)])
            assert isinstance(result, SearchResult)
            texts = {hit.id: hit.text for hit in result.hits}
            assert texts["fresh"] == "north " * (number + 1)
        opened.index.close()


def test_a_server_has_at_least_one_worker() -> None:
    with pytest.raises(Exception, match="workers: expected at least 1"):
        ServerConfig(workspace=Path(), workers=0)


def test_a_keys_rate_is_one_for_all_workers(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    make_workspace(folder).close()
    key = add_key(folder / "keys.json", "job", Role.READ, rate_limit=0.01)
    fleet = Fleet(folder)
    request = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text="north"))

    codes = []
    for channel in fleet.channels:
        search = search_pb2_grpc.SearchServiceStub(channel).Search
        metadata = (("authorization", f"Bearer {key}"),)
        call = search.future(request, timeout=TIMEOUT_S, metadata=metadata, wait_for_ready=True)
        codes.append(call.code())
    fleet.close()

    assert sorted(code.name for code in codes) == ["OK"] + ["RESOURCE_EXHAUSTED"] * (CONNECTIONS - 1)
