"""Servers as processes of their own, which faults may end, and what they say about themselves."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from protos.twinspire.v1 import items_pb2, items_pb2_grpc, search_pb2, search_pb2_grpc
from retrieval.failpoints import FAILPOINT_VARIABLE
from tests.server.running import TRANSPORT, Failure, failure_of
from tests.server.workspaces import COLLECTION

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30.0
PROGRAM = """
import json, sys
from pathlib import Path
from server import app
from server.config import ServerConfig
from retrieval.workspace import Workspace
settings = json.loads(sys.argv[2])
busy = settings.pop("busy_timeout_s", 5.0)
app.Workspace = lambda root: Workspace(root, busy_timeout_s=busy)
def announce(line):
    print(line, flush=True)
app.serve(ServerConfig(workspace=Path(sys.argv[1]), port=0, metrics_port=0, **settings), announce)
"""
PATHS = re.compile(r"(/[\w.-]+){2,}|Traceback|\.py\b")


class Served:
    """A server in a process of its own, with clients of it."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        assert process.stdout
        self.line = process.stdout.readline()
        match = re.search(r":(\d+)$", self.line.strip())
        assert match, log.read_text(errors="replace")
        self.port = int(match[1])
        self.metrics_port = self._metrics_port()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.searches = search_pb2_grpc.SearchServiceStub(self.channel)
        self.items = items_pb2_grpc.ItemServiceStub(self.channel)
        self.failures: list[Failure] = []

    def _metrics_port(self) -> int:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for line in self.log.read_text(errors="replace").splitlines()[::-1]:
                if '"serving"' in line:
                    return int(json.loads(line)["metrics_port"])
            time.sleep(0.01)
        raise AssertionError(self.log.read_text(errors="replace"))

    def search(self, text: str = "north", *, limit: int = 10, timeout_s: float = TIMEOUT_S) -> list[str]:
        """Search, and return the ids of the hits."""
        query = search_pb2.Query(text=text)
        request = search_pb2.SearchRequest(collection=COLLECTION, query=query, limit=limit)
        return [hit.id for hit in self.searches.Search(request, timeout=timeout_s).hits]

    def upsert(self, *ids: str, text: str = "far") -> None:
        """Upsert items of one text, and wait for the answer."""
        items = [items_pb2.Item(id=id, text=text) for id in ids]
        request = items_pb2.UpsertItemsRequest(collection=COLLECTION, items=items)
        (answer,) = self.items.UpsertItems(iter([request]), timeout=TIMEOUT_S)
        assert not answer.errors, answer.errors

    def delete(self, *ids: str) -> None:
        """Delete items."""
        request = items_pb2.DeleteItemsRequest(collection=COLLECTION, ids=items_pb2.ItemIds(ids=ids))
        self.items.DeleteItems(request, timeout=TIMEOUT_S)

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Tell which of these items are not stored."""
        missing: list[str] = []
        for start in range(0, len(ids), 1000):
            request = items_pb2.GetItemsRequest(collection=COLLECTION, ids=ids[start : start + 1000])
            missing += self.items.GetItems(request, timeout=TIMEOUT_S).missing_ids
        return missing

    def fails(self, work: Any) -> Failure:
        """Do what must fail; return how. The answer names no path, and a metric counts it."""
        with pytest.raises(grpc.RpcError) as caught:
            work()
        failure = failure_of(caught.value)
        assert not PATHS.search(failure.message), failure.message
        assert self.metric(f'twinspire_errors_total{{reason="{failure.reason}"}}') > 0
        return failure

    def metric(self, name: str) -> float:
        """Read a metric by its name and labels, as Prometheus writes them."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=TIMEOUT_S
        ) as page:
            for line in page.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[-1])
        return 0.0

    @property
    def memory(self) -> int:
        """Bytes in memory."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def lives(self) -> bool:
        """Tell whether it still runs, and answers."""
        return self.process.poll() is None and self.search("north", limit=1) == ["north"]

    def end(self) -> int:
        """Wait for the end."""
        return self.process.wait(TIMEOUT_S)


@contextmanager
def serve(root: Path, failpoint: str = "", *, log: Path | None = None, **settings: Any) -> Iterator[Served]:
    """Run a server over a workspace; its log goes beside it if nothing else is said."""
    log = log or root.with_name(f"{root.name}.log")
    environment = os.environ | {FAILPOINT_VARIABLE: failpoint}
    settings = {"transport": TRANSPORT} | settings
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(root), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            env=environment,
        )
    try:
        served = Served(process, log)
        with served.channel:
            yield served
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
