"""A server is killed while items stream to it, and comes back: nothing that was acknowledged is lost."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.workspaces import make_workspace
from twinspire import Client, Item, RetryPolicy, UpsertReport

pytestmark = pytest.mark.slow

ITEMS = 6000


class Server:
    """`twinspire serve` as a process that can be killed and started again on its port."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.port = 0
        self.starts = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "twinspire", "--workspace", str(self.workspace)]
        self.process = subprocess.Popen(
            [*command, "serve", "--port", str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])
        self.starts += 1

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    make_workspace(tmp_path / "workspace").close()
    server = Server(tmp_path / "workspace")
    yield server
    server.kill()


def test_an_upload_survives_a_killed_server(server: Server) -> None:
    restarts: list[threading.Thread] = []

    def kill_once(report: UpsertReport) -> None:
        if report.acknowledged >= ITEMS // 4 and not restarts:
            server.kill()
            restarts.append(threading.Thread(target=server.start))
            restarts[0].start()

    patient = RetryPolicy(attempts=200, first_delay_s=0.05, max_delay_s=0.2)
    with Client(f"127.0.0.1:{server.port}", retries=patient, timeout_s=60) as client:
        client.wait_until_ready()
        report = client.upsert_many(
            "numbers",
            (Item(str(number), f"number {number}") for number in range(ITEMS)),
            max_items=100,
            on_progress=kill_once,
        )
        restarts[0].join()
        stored = client.count_items("numbers")
        ids = {item.id for item in client.list_items("numbers")}

    assert server.starts == 2
    assert report.reconnects >= 1
    assert (report.acknowledged, report.refused) == (ITEMS, 0)
    assert stored == ITEMS
    assert ids == set(map(str, range(ITEMS)))
