"""Servers as processes: what they print, load and use, and how they end."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest
from grpc import StatusCode

from protos.twinspire.v1 import items_pb2, items_pb2_grpc, search_pb2, search_pb2_grpc
from tests.server.workspaces import COLLECTION, make_workspace

TIMEOUT_S = 20.0
PROGRAM = """
import sys
from pathlib import Path
from server.app import serve
from server.config import ServerConfig

def announce(line):
    print(line, "torch" in sys.modules, "transformers" in sys.modules, "gensim" in sys.modules, flush=True)

serve(ServerConfig(workspace=Path(sys.argv[1]), port=0, shutdown_grace_s=float(sys.argv[2])), announce)
"""


@dataclass
class Served:
    process: subprocess.Popen[str]
    line: str
    ready_s: float

    @property
    def port(self) -> int:
        match = re.search(r":(\d+)", self.line)
        assert match
        return int(match[1])

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.port}")

    def end(self) -> int:
        return self.process.wait(TIMEOUT_S)


Start = Callable[..., Served]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    make_workspace(tmp_path / "workspace").close()
    processes: list[subprocess.Popen[str]] = []

    def run(grace_s: float = 5.0) -> Served:
        started = time.perf_counter()
        with (tmp_path / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(tmp_path / "workspace"), str(grace_s)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=Path(__file__).parents[2],
            )
        processes.append(process)
        assert process.stdout
        line = process.stdout.readline()
        return Served(process, line, time.perf_counter() - started)

    yield run
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def search(channel: grpc.Channel, text: str = "north") -> list[str]:
    request = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text=text), limit=2)
    answer = search_pb2_grpc.SearchServiceStub(channel).Search(request, timeout=TIMEOUT_S)
    return [hit.id for hit in answer.hits]


def test_a_ready_server_says_so_in_one_line(start: Start) -> None:
    assert re.match(r"serving 1 collections on 127\.0\.0\.1:\d+ ", start().line)


def test_a_two_tower_server_imports_neither_torch_nor_transformers_nor_gensim(start: Start) -> None:
    assert start().line.endswith("False False False\n")


def test_a_server_takes_little_time_and_memory(start: Start) -> None:
    served = start()

    with served.channel() as channel:
        search(channel)
    assert served.ready_s < 5  # 2 on an idle machine
    assert psutil.Process(served.process.pid).memory_info().rss < 200 << 20


def test_sigterm_ends_an_idle_server_with_exit_code_zero(start: Start) -> None:
    served = start()

    served.process.terminate()

    assert served.end() == 0


def test_sigterm_under_load_lets_calls_in_flight_succeed(start: Start) -> None:
    served = start()
    codes: list[StatusCode] = []

    def ask() -> None:
        with served.channel() as channel:
            while True:
                try:
                    assert search(channel) == ["north", "north-east"]
                except grpc.RpcError as error:
                    codes.append(error.code())
                    return

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    time.sleep(0.3)
    served.process.terminate()
    for client in clients:
        client.join()

    assert served.end() == 0
    assert set(codes) == {StatusCode.UNAVAILABLE}


def test_an_idle_stream_does_not_hold_up_the_end(start: Start) -> None:
    served = start(grace_s=15.0)
    done = threading.Event()

    def requests() -> Iterator[items_pb2.UpsertItemsRequest]:
        yield items_pb2.UpsertItemsRequest(collection=COLLECTION, items=[items_pb2.Item(id="a", text="far")])
        done.wait(TIMEOUT_S)

    with served.channel() as channel:
        answers = items_pb2_grpc.ItemServiceStub(channel).UpsertItems(requests(), timeout=TIMEOUT_S)
        assert next(answers).inserted == 1
        served.process.terminate()
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        done.set()

    assert caught.value.code() == StatusCode.UNAVAILABLE
    assert served.end() == 0


@pytest.mark.slow
def test_a_second_sigterm_ends_at_once(start: Start, tmp_path: Path) -> None:
    import sqlite3

    served = start(grace_s=60.0)
    lock = sqlite3.connect(tmp_path / "workspace" / "twinspire.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")  # the upsert below waits for it, and keeps the server from stopping
    with served.channel() as channel:
        request = items_pb2.UpsertItemsRequest(
            collection=COLLECTION, items=[items_pb2.Item(id="a", text="far")]
        )
        answers = items_pb2_grpc.ItemServiceStub(channel).UpsertItems(iter([request]), timeout=TIMEOUT_S)
        time.sleep(0.3)
        served.process.terminate()
        time.sleep(0.3)
        assert served.process.poll() is None
        started = time.perf_counter()
        served.process.terminate()

        assert served.end() == 128 + signal.SIGTERM
        assert time.perf_counter() - started < 2
        answers.cancel()
    lock.close()


def test_acknowledged_upserts_survive_kill_nine(start: Start) -> None:
    served = start()
    acknowledged: list[str] = []

    def requests() -> Iterator[items_pb2.UpsertItemsRequest]:
        for at in range(100_000):
            item = items_pb2.Item(id=f"kept{at}", text="far")
            yield items_pb2.UpsertItemsRequest(collection=COLLECTION, items=[item])

    with served.channel() as channel:
        answers = items_pb2_grpc.ItemServiceStub(channel).UpsertItems(requests(), timeout=TIMEOUT_S)
        with contextlib.suppress(grpc.RpcError):
            for at, _ in enumerate(answers):
                acknowledged.append(f"kept{at}")
                if at == 25:
                    os.kill(served.process.pid, signal.SIGKILL)
    assert served.end() == -signal.SIGKILL

    with start().channel() as channel:
        wanted = items_pb2.GetItemsRequest(collection=COLLECTION, ids=acknowledged)
        answer = items_pb2_grpc.ItemServiceStub(channel).GetItems(wanted, timeout=TIMEOUT_S)
        request = search_pb2.SearchRequest(
            collection=COLLECTION, query=search_pb2.Query(text="far"), limit=1000
        )
        found = search_pb2_grpc.SearchServiceStub(channel).Search(request, timeout=TIMEOUT_S)

    assert len(acknowledged) > 25
    assert not answer.missing_ids
    assert set(acknowledged) <= {hit.id for hit in found.hits}


@pytest.mark.slow
def test_a_taken_port_is_told_plainly(start: Start, tmp_path: Path) -> None:
    port = start().port
    program = PROGRAM.replace("port=0", f"port={port}")

    second = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "workspace"), "1"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=Path(__file__).parents[2],
    )

    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in second.stderr


@pytest.mark.slow
def test_logs_are_json_without_query_text(start: Start, tmp_path: Path) -> None:
    import json

    served = start()
    with served.channel() as channel:
        search(channel, "north confidential")
        with pytest.raises(grpc.RpcError):
            search(channel, " ")
    served.process.terminate()
    served.end()

    log = (tmp_path / "log").read_text()
    assert [json.loads(line)["message"] for line in log.splitlines()] == [
        "version live",
        "serving",
        "stopping",
        "stopped",
    ]
    assert "confidential" not in log
