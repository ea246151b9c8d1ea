"""Disks that are full or read-only, and a database that another process holds."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from indexer.indexing import index_collection
from retrieval.collections import create_collection
from retrieval.errors import StorageFull, UnusableWorkspace
from retrieval.item_writes import upsert_items
from retrieval.items import Item
from retrieval.publishing import live_version, promote
from retrieval.workspace import DATABASE_FILE, Workspace
from tests.faults.crashes import finish, run
from tests.faults.disks import fill, make_read_only, small_disk
from tests.faults.programs import COLLECTION, OLD
from tests.faults.served import serve
from tests.indexer.encoders import add_model
from tests.server.workspaces import COLLECTION as SERVED
from tests.server.workspaces import build_version, make_workspace
from twinspire.workspace_checks import check_workspace


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", megabytes=12) as folder:
        yield folder


def test_on_a_full_disk_writes_exhaust_a_resource_and_searches_succeed(disk: Path, tmp_path: Path) -> None:
    make_workspace(disk / "ws").close()
    with serve(disk / "ws", log=tmp_path / "log") as server:
        server.upsert("before")
        ballast = fill(disk)

        failure = server.fails(lambda: server.upsert(*(f"full{n}" for n in range(900)), text="far " * 100))

        assert (failure.code, failure.reason) == (StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
        assert server.search("far", limit=2) == ["before", "far"]
        assert server.missing(["before", "full0"]) == ["full0"]
        ballast.unlink()
        server.upsert("after")
        assert server.search("far", limit=3) == ["after", "before", "far"]


def test_on_a_full_disk_publishing_fails_and_the_old_version_serves(disk: Path, tmp_path: Path) -> None:
    with make_workspace(disk / "ws") as ws, serve(disk / "ws", log=tmp_path / "log") as server:
        old = live_version(ws, SERVED)
        ballast = fill(disk)

        with pytest.raises(StorageFull):
            build_version(ws)

        assert (live_version(ws, SERVED), server.search("north", limit=1)) == (old, ["north"])
        ballast.unlink()
        promote(ws, SERVED, build_version(ws))
        assert server.lives()


def test_on_a_full_disk_the_doctor_does_not_ask_for_a_backup(disk: Path) -> None:
    make_workspace(disk / "ws").close()
    fill(disk)

    (database,) = [check for check in check_workspace(disk / "ws") if check.name == "database"]

    assert database.state == "failed"
    assert "free some space" in database.remedy


@pytest.mark.parametrize("overrides", [{"kind": "flat"}, {"kind": "hnsw"}, {"kind": "ivf"}])
def test_an_index_that_does_not_fit_on_the_disk_says_so(disk: Path, overrides: dict[str, str]) -> None:
    with Workspace(disk / "ws", create=True) as ws:
        create_collection(ws, COLLECTION)
        upsert_items(ws, COLLECTION, [Item(f"i{n}", text=f"word{n % 50} word{n % 7}") for n in range(2000)])
        add_model(ws, [f"word{n}" for n in range(50)], dims=96)
        index_collection(ws, COLLECTION, "test", overrides=overrides)
        old = live_version(ws, COLLECTION)
        upsert_items(ws, COLLECTION, [Item(f"j{n}", text=f"word{n % 50} word{n % 7}") for n in range(100)])
        ballast = fill(disk)
        with ballast.open("r+b") as file:
            file.truncate(ballast.stat().st_size - (500 << 10))  # room for the vectors, none for the index

        with pytest.raises(StorageFull):
            index_collection(ws, COLLECTION, "test", overrides=overrides)

        assert live_version(ws, COLLECTION) == old
        ballast.unlink()
        assert index_collection(ws, COLLECTION, "test", overrides=overrides).count == 2100


def test_on_a_read_only_disk_writes_are_a_failed_precondition_and_searches_succeed(
    disk: Path, tmp_path: Path
) -> None:
    make_workspace(disk / "ws").close()
    make_read_only(disk)
    with serve(disk / "ws", log=tmp_path / "log") as server:
        failure = server.fails(lambda: server.upsert("never"))

        assert (failure.code, failure.reason) == (StatusCode.FAILED_PRECONDITION, "UNUSABLE_WORKSPACE")
        assert server.missing(["north", "never"]) == ["never"]
        assert server.lives()
    assert "unexpected" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("action", "code", "reason"),
    [
        ("nospace", StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL"),
        ("readonly", StatusCode.FAILED_PRECONDITION, "UNUSABLE_WORKSPACE"),
    ],
)
def test_a_disk_that_fails_in_the_middle_of_a_write_leaves_nothing_of_it(
    root: Path, action: str, code: StatusCode, reason: str
) -> None:
    with serve(root, f"upsert-not-committed:1={action}") as server:
        failure = server.fails(lambda: server.upsert("lost"))

        assert (failure.code, failure.reason) == (code, reason)
        assert server.missing(["lost"]) == ["lost"]
        server.upsert("kept")
        assert server.search("far", limit=2) == ["far", "kept"]


@pytest.mark.parametrize("failpoint", ["manifest-half-written=nospace", "publish-folder-renamed=nospace"])
def test_a_disk_that_fails_in_the_middle_of_a_publish_leaves_the_old_version(
    tmp_path: Path, failpoint: str
) -> None:
    root = tmp_path / "ws"
    with Workspace(root, create=True) as ws:
        create_collection(ws, COLLECTION)
        upsert_items(ws, COLLECTION, OLD)
        add_model(ws, ["old", "words"])
    finish("index", root)
    with Workspace(root) as ws:
        old = live_version(ws, COLLECTION)
        upsert_items(ws, COLLECTION, [Item("late", text="new words")])

        assert run("index", root, failpoint) == 1

        assert live_version(ws, COLLECTION) == old
        finish("index", root)
        assert live_version(ws, COLLECTION) != old


def test_a_locked_database_is_unavailable_after_the_busy_timeout(root: Path) -> None:
    with (
        serve(root, busy_timeout_s=0.2) as server,
        closing(sqlite3.connect(root / DATABASE_FILE, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")

        failure = server.fails(lambda: server.upsert("late"))

        assert (failure.code, failure.reason) == (StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
        assert failure.detail(error_details_pb2.ErrorInfo).domain == "twinspire"
        assert server.lives()
        other.execute("ROLLBACK")
        server.upsert("late")


def test_a_read_only_workspace_says_so_to_the_indexer(disk: Path) -> None:
    make_workspace(disk / "ws").close()
    make_read_only(disk)

    with Workspace(disk / "ws") as ws, pytest.raises(UnusableWorkspace):
        build_version(ws)
