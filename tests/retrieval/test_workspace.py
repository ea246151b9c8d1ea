import gc
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from retrieval.collections import collection_names, create_collection
from retrieval.errors import BackendUnavailable, InvalidInput, StorageFull, UnusableWorkspace
from retrieval.items import Item, count_items, get_items, list_items, upsert_items
from retrieval.text_search import lexical_search
from retrieval.workspace import DATABASE_FILE, Workspace


def write_and_fail(ws: Workspace, collection: str) -> None:
    with ws.atomic():
        create_collection(ws, collection)
        upsert_items(ws, collection, [Item("b", text="x")])
        raise InvalidInput("on purpose")


def test_a_failed_block_leaves_nothing(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput):
        write_and_fail(workspace, "d")

    assert collection_names(workspace) == ["c"]
    create_collection(workspace, "d")


def test_a_failed_inner_block_leaves_the_outer_one(workspace: Workspace) -> None:
    with workspace.atomic():
        upsert_items(workspace, "c", [Item("a", text="x")])
        with pytest.raises(InvalidInput):
            write_and_fail(workspace, "c")

    assert [item.id for item in list_items(workspace, "c")] == ["a"]


def test_what_one_thread_wrote_another_reads(workspace: Workspace) -> None:
    thread = threading.Thread(target=lambda: upsert_items(workspace, "c", [Item("a", text="x")]))
    thread.start()
    thread.join()

    assert count_items(workspace, "c") == 1


def test_threads_that_write_at_once_all_succeed(workspace: Workspace) -> None:
    def write(thread: int) -> None:
        for number in range(10):
            upsert_items(workspace, "c", [Item(f"{thread}-{number}", text="x")])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert count_items(workspace, "c") == 40


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files")
def test_threads_that_ended_leave_no_file_open(workspace: Workspace) -> None:
    def open_files() -> int:
        return len(psutil.Process().open_files())

    before = open_files()

    for _ in range(20):
        thread = threading.Thread(target=collection_names, args=(workspace,))
        thread.start()
        thread.join()
    gc.collect()

    assert open_files() <= before + 2  # SQLite keeps a few to itself


def test_a_locked_database_is_unavailable_after_the_busy_timeout(tmp_path: Path) -> None:
    with Workspace(tmp_path, create=True, busy_timeout_s=0.05) as ws:
        create_collection(ws, "c")
        with sqlite3.connect(tmp_path / DATABASE_FILE) as other:
            other.execute("BEGIN IMMEDIATE")

            with pytest.raises(BackendUnavailable, match="locked"):
                upsert_items(ws, "c", [Item("a", text="x")])

            assert count_items(ws, "c") == 0
        other.close()
        upsert_items(ws, "c", [Item("a", text="x")])


def test_a_full_disk_refuses_writes_and_serves_reads(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="otter")])
    pages = workspace.fetch("PRAGMA page_count")[0][0]
    workspace.fetch(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StorageFull):
        upsert_items(workspace, "c", [Item(str(n), text="x" * 4000) for n in range(100)])

    assert [id for _, id, _ in lexical_search(workspace, "c", "otter", 5)] == ["a"]
    workspace.fetch("PRAGMA max_page_count = 1000000")
    upsert_items(workspace, "c", [Item("b", text="x")])


def test_without_create_there_must_be_a_workspace(tmp_path: Path) -> None:
    with pytest.raises(UnusableWorkspace, match="there is no workspace"):
        Workspace(tmp_path / "missing")

    assert not (tmp_path / "missing").exists()


WRITER = """
import sys
from pathlib import Path
from retrieval.items import Item, upsert_items
from retrieval.workspace import Workspace

ws = Workspace(Path(sys.argv[1]))
for number in range(10**9):
    upsert_items(ws, "c", [Item(f"{number}-{n}", text=f"otter {number}") for n in range(3)])
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(workspace: Workspace) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(workspace.root)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(40)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    writer.stdout.close()

    ids = [f"{number}-{n}" for number in acknowledged for n in range(3)]
    with Workspace(workspace.root) as reopened:
        assert len(get_items(reopened, "c", ids)) == len(ids)
        assert count_items(reopened, "c") in (len(ids), len(ids) + 3)  # the last call, whole or not at all
        assert len(lexical_search(reopened, "c", "otter", 1000)) == count_items(reopened, "c")


READER = """
import os
import sys
import urllib.parse  # pathlib imports it late from Python 3.13 on
from pathlib import Path
from retrieval.collections import create_collection
from retrieval.errors import UnusableWorkspace
from retrieval.items import Item, count_items, upsert_items
from retrieval.workspace import Workspace
from sqlite_utils import Database

Database(memory=True)  # imports what it needs lazily
if os.getuid() == 0:
    os.setuid(65534)  # permissions do not bind root
with Workspace(Path(sys.argv[1])) as ws:
    print(count_items(ws, "c"))
    for write in (lambda: upsert_items(ws, "c", [Item("b", text="x")]), lambda: create_collection(ws, "d")):
        try:
            write()
        except UnusableWorkspace as error:
            print(error)
"""


def test_a_read_only_workspace_is_read_and_refuses_writes() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, which other users may not enter
        Path(folder).chmod(0o755)
        root = Path(folder) / "workspace"
        with Workspace(root, create=True) as ws:
            create_collection(ws, "c")
            upsert_items(ws, "c", [Item("a", text="x")])
        (root / DATABASE_FILE).chmod(0o444)
        root.chmod(0o555)

        reader = subprocess.run(
            [sys.executable, "-c", READER, str(root)], capture_output=True, text=True, check=False
        )
        root.chmod(0o755)

    assert (reader.stdout.splitlines(), reader.stderr) == (["1"] + ["the workspace is read-only"] * 2, "")
