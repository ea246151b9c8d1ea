from pathlib import Path

import pytest

from retrieval.collections import collection_names, create_collection
from retrieval.errors import CollectionNotFound
from retrieval.item_writes import upsert_items
from retrieval.items import Item
from retrieval.manifest import read_manifest
from retrieval.publishing import live_version, new_version_folder, publish
from retrieval.removal import remove_collection
from retrieval.workspace import Workspace
from tests.server.workspaces import COLLECTION, build_version, make_workspace

TABLES = ("items", "segments", "embeddings", "indexes", "aliases", "queries", "dead_letters")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A workspace with two versions of a collection, and another one beside it."""
    ws = make_workspace(tmp_path / "ws")
    build_version(ws)
    create_collection(ws, "other")
    upsert_items(ws, "other", [Item("kept", text="words")])
    return ws


def test_nothing_is_left_of_a_collection_and_others_stay(ws: Workspace) -> None:
    remove_collection(ws, COLLECTION)

    assert collection_names(ws) == ["other"]
    assert {table: ws.fetch(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES} == {
        **dict.fromkeys(TABLES, 0),
        "items": 1,
        "segments": 1,
    }
    assert list(ws.indexes.iterdir()) == []
    assert [folder.name for folder in ws.models.iterdir()] == ["compass"]


def test_what_a_crash_left_behind_goes_with_it(ws: Workspace) -> None:
    (ws.indexes / COLLECTION / "000007-0badcafe").mkdir()
    (ws.indexes / COLLECTION / "000007-0badcafe" / "index.faiss").write_bytes(b"half")

    remove_collection(ws, COLLECTION)

    assert list(ws.indexes.iterdir()) == []


def test_an_unknown_collection_is_not_found(ws: Workspace) -> None:
    with pytest.raises(CollectionNotFound):
        remove_collection(ws, "unknown")


def test_the_name_can_be_used_again(ws: Workspace) -> None:
    remove_collection(ws, COLLECTION)
    create_collection(ws, COLLECTION)
    upsert_items(ws, COLLECTION, [Item("new", text="north")])

    assert build_version(ws).startswith("000001-")


def test_what_is_built_meanwhile_is_not_published(ws: Workspace) -> None:
    live = live_version(ws, COLLECTION)
    assert live is not None
    made = ws.indexes / COLLECTION / live
    staged = new_version_folder(ws, COLLECTION)
    for file in made.iterdir():
        (staged / file.name).write_bytes(file.read_bytes())
    manifest = read_manifest(made)
    assert manifest is not None

    remove_collection(ws, COLLECTION)

    with pytest.raises(CollectionNotFound):
        publish(ws, COLLECTION, staged, manifest)
    assert staged.exists()  # it is the build's to clean up
