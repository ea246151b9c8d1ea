"""The export of a workspace that a server serves and writes, as it is done every night."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from indexer.restoring import import_bundle
from retrieval.items import get_items
from retrieval.workspace import Workspace
from tests.server.workspaces import COLLECTION, make_workspace
from twinspire import Client, Item

pytestmark = pytest.mark.slow


@dataclass
class Served:
    """A workspace and the server over it."""

    root: Path
    target: str


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    root = tmp_path / "workspace"
    make_workspace(root).close()
    process = subprocess.Popen(
        [sys.executable, "-m", "twinspire", "--workspace", str(root), "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    yield Served(root, f"127.0.0.1:{int(process.stdout.readline().rpartition(':')[2])}")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    process.stdout.close()


def test_what_was_acknowledged_before_an_export_is_in_it(served: Served, tmp_path: Path) -> None:
    stop = threading.Event()
    acknowledged: list[str] = []
    failed: list[Exception] = []

    def write_and_search() -> None:
        with Client(served.target) as client:
            while not stop.is_set():
                id = f"n{len(acknowledged)}"
                try:
                    client.upsert_many(COLLECTION, [Item(id, "north east")])
                    client.search(COLLECTION, "north")
                except Exception as error:
                    failed.append(error)
                    return
                acknowledged.append(id)

    writer = threading.Thread(target=write_and_search)
    writer.start()
    try:
        for night in range(3):
            before = list(acknowledged)
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "twinspire",
                    "--workspace",
                    served.root,
                    "export",
                    tmp_path / f"b{night}",
                ],
                check=True,
                capture_output=True,
            )
            import_bundle(tmp_path / f"b{night}", tmp_path / f"restored{night}")
            with Workspace(tmp_path / f"restored{night}") as ws:
                assert {item.id for item in get_items(ws, COLLECTION, before)} == set(before)
            assert len(acknowledged) > len(before)
    finally:
        stop.set()
        writer.join()
    assert failed == []
