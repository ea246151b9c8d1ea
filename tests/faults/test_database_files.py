"""Faults of the workspace's database file: refused with what to do, never half opened."""

import os
import pickle
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from retrieval.collections import collection_names, create_collection
from retrieval.embeddings import encoder_row, put_embeddings, read_embeddings
from retrieval.errors import CorruptArtifact, FailedPrecondition, NewerFormat, UnusableWorkspace
from retrieval.items import Item, list_items, upsert_items
from retrieval.workspace import DATABASE_FILE, Workspace
from tests.faults.files import Canary, pickles


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed workspace of 400 items, some hundred pages long."""
    root = tmp_path_factory.mktemp("sound")
    with Workspace(root, create=True) as ws:
        create_collection(ws, "c")
        upsert_items(ws, "c", [Item(id=f"i{number}", text=f"text {number} " * 40) for number in range(400)])
    with sqlite3.connect(root / DATABASE_FILE) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    return shutil.copytree(sound, tmp_path / "workspace")


def read_everything(root: Path) -> None:
    with Workspace(root) as ws:
        for name in collection_names(ws):
            list_items(ws, name, limit=1000)


def test_the_sound_workspace_opens(root: Path) -> None:
    read_everything(root)


@pytest.mark.parametrize(
    "junk", [b"not a database at all" * 1000, b"\x00" * 8192, b"SQLite format 3\x00" + b"\xff" * 8176, b"S"]
)
def test_junk_in_the_place_of_the_database_is_refused(root: Path, junk: bytes) -> None:
    (root / DATABASE_FILE).write_bytes(junk)

    with pytest.raises(FailedPrecondition, match="restore it from a backup"):
        read_everything(root)


def test_an_empty_database_is_refused(root: Path) -> None:
    os.truncate(root / DATABASE_FILE, 0)

    with pytest.raises(UnusableWorkspace, match="is empty"):
        read_everything(root)


@pytest.mark.parametrize("kept", [100, 4096, 4097, 40_000, 0.5, 0.99])
def test_a_truncated_database_is_refused(root: Path, kept: float) -> None:
    file = root / DATABASE_FILE
    os.truncate(file, int(kept if kept > 1 else kept * file.stat().st_size))

    with pytest.raises(FailedPrecondition, match="restore it from a backup"):
        read_everything(root)


def test_a_missing_database_is_refused(root: Path) -> None:
    (root / DATABASE_FILE).unlink()

    with pytest.raises(UnusableWorkspace, match="there is no workspace"):
        read_everything(root)


def test_a_folder_in_the_place_of_the_database_is_refused(root: Path) -> None:
    (root / DATABASE_FILE).unlink()
    (root / DATABASE_FILE).mkdir()

    with pytest.raises((UnusableWorkspace,)):
        read_everything(root)


def test_a_database_of_a_later_version_asks_for_an_upgrade(root: Path) -> None:
    with sqlite3.connect(root / DATABASE_FILE) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations(migration_set, name, applied_at)"
            " SELECT migration_set, '999_from_the_future', applied_at FROM _sqlite_migrations LIMIT 1"
        )
    connection.close()

    with pytest.raises(NewerFormat, match="upgrade"):
        read_everything(root)


def test_a_refused_database_is_left_as_it_was(root: Path) -> None:
    (root / DATABASE_FILE).write_bytes(b"not a database at all" * 1000)

    with pytest.raises(FailedPrecondition):
        read_everything(root)

    assert (root / DATABASE_FILE).read_bytes() == b"not a database at all" * 1000


def test_a_pickle_in_the_place_of_the_database_never_runs(root: Path) -> None:
    nest = root / "nest"

    for pickled in pickles(nest).values():
        (root / DATABASE_FILE).write_bytes(pickled)
        with pytest.raises(FailedPrecondition):
            read_everything(root)

    assert not nest.exists()


def test_a_pickle_in_the_place_of_a_vector_never_runs(root: Path) -> None:
    nest = root / "nest"
    with Workspace(root) as ws:
        encoder_row(ws, "f" * 64, 4)
        put_embeddings(ws, "f" * 64, np.array([1, 2]), np.eye(2, 4, dtype=np.float32))
        with ws.atomic() as db:
            db.execute("UPDATE embeddings SET vector = ?", (pickle.dumps(Canary(nest)),))

        with pytest.raises(CorruptArtifact):
            list(read_embeddings(ws, "c", "f" * 64))

    assert not nest.exists()
