import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from indexer.bundle import read_bundle, sha256, verify_bundle
from indexer.exporting import export_bundle
from indexer.progress import Progress
from retrieval.collections import collection_names, create_collection
from retrieval.errors import CollectionNotFound, Conflict, CorruptArtifact
from retrieval.item_writes import upsert_items
from retrieval.items import Item, count_items
from retrieval.publishing import (
    delete_version,
    list_versions,
    live_version,
    promote,
    quarantine,
)
from retrieval.registry import list_models
from retrieval.workspace import BUNDLE_FILE, Workspace
from tests.server.workspaces import COLLECTION, build_version, write_encoder

TEXT = "a sentence that only the other collection holds"


def opened(bundle: Path, folder: Path) -> Workspace:
    """Open a copy of a bundle's database, since a bundle must not change."""
    folder.mkdir()
    (folder / "twinspire.db").write_bytes((bundle / "twinspire.db").read_bytes())
    return Workspace(folder)


def test_a_bundle_names_every_file_with_its_digest(bundle: Path) -> None:
    manifest = read_bundle(bundle)

    found = {str(it.relative_to(bundle)): it for it in bundle.rglob("*") if it.is_file()}
    assert set(manifest.files) == set(found) - {BUNDLE_FILE}
    assert {name: record.sha256 for name, record in manifest.files.items()} == {
        name: sha256(found[name]) for name in manifest.files
    }


def test_a_bundle_is_sound(bundle: Path) -> None:
    verify_bundle(bundle, read_bundle(bundle))


def test_a_bundle_notes_what_a_search_finds(bundle: Path) -> None:
    described = read_bundle(bundle).collections[COLLECTION]

    assert described.probe is not None
    assert described.probe.hits[0] == ("north", 1.0)


def test_immutable_files_are_linked(source: Workspace, bundle: Path) -> None:
    (name,) = (name for name in read_bundle(bundle).files if name.endswith("vectors.npy"))

    assert os.path.samefile(bundle / name, source.root / name)


def test_files_are_copied_when_told_so(source: Workspace, tmp_path: Path) -> None:
    report = export_bundle(source, tmp_path / "bundle", copy=True)

    (name,) = (name for name in read_bundle(tmp_path / "bundle").files if name.endswith("vectors.npy"))
    assert report.linked == 0
    assert not os.path.samefile(tmp_path / "bundle" / name, source.root / name)


def test_the_database_is_one_file(bundle: Path) -> None:
    assert {it.name for it in bundle.iterdir()} == {BUNDLE_FILE, "twinspire.db", "models", "indexes"}


def test_what_is_live_and_what_was_before_it_is_taken(source: Workspace, tmp_path: Path) -> None:
    first = live_version(source, COLLECTION)
    second, third = build_version(source), build_version(source)
    promote(source, COLLECTION, second)
    promote(source, COLLECTION, third)

    export_bundle(source, tmp_path / "bundle")

    with opened(tmp_path / "bundle", tmp_path / "look") as ws:
        assert {it.version for it in list_versions(ws, COLLECTION)} == {second, third}
    assert first not in {it.name for it in (tmp_path / "bundle" / "indexes" / COLLECTION).iterdir()}


def test_one_collection_is_taken_without_a_trace_of_the_others(source: Workspace, tmp_path: Path) -> None:
    create_collection(source, "other")
    upsert_items(source, "other", [Item("secret", text=TEXT)])
    write_encoder(source, name="unneeded", version=2)

    export_bundle(source, tmp_path / "bundle", collection=COLLECTION)

    assert TEXT.encode() not in (tmp_path / "bundle" / "twinspire.db").read_bytes()
    with opened(tmp_path / "bundle", tmp_path / "look") as ws:
        assert collection_names(ws) == [COLLECTION]
        assert [model.name for model in list_models(ws)] == ["compass"]


def test_keys_are_not_taken(source: Workspace, tmp_path: Path) -> None:
    (source.root / "keys.json").write_text("{}")

    export_bundle(source, tmp_path / "bundle")

    assert not (tmp_path / "bundle" / "keys.json").exists()


def test_a_collection_without_an_index_is_taken(source: Workspace, tmp_path: Path) -> None:
    create_collection(source, "new")

    report = export_bundle(source, tmp_path / "bundle")

    assert report.collections["new"].live_version == ""


def test_an_unknown_collection_is_refused(source: Workspace, tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFound):
        export_bundle(source, tmp_path / "bundle", collection="nowhere")


def test_what_is_there_is_not_written_over(source: Workspace, bundle: Path) -> None:
    before = (bundle / BUNDLE_FILE).read_bytes()

    with pytest.raises(Conflict, match="already"):
        export_bundle(source, bundle)
    assert (bundle / BUNDLE_FILE).read_bytes() == before


def test_a_damaged_live_index_is_not_exported(source: Workspace, tmp_path: Path) -> None:
    file = source.indexes / COLLECTION / str(live_version(source, COLLECTION)) / "vectors.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"!")

    with pytest.raises(CorruptArtifact):
        export_bundle(source, tmp_path / "bundle")
    assert sorted(it.name for it in tmp_path.iterdir()) == ["workspace"]


def test_a_damaged_encoder_of_what_is_live_is_not_exported(source: Workspace, tmp_path: Path) -> None:
    (source.models / "compass" / "1" / "vocabulary.txt").write_text("other\n")

    with pytest.raises(CorruptArtifact):
        export_bundle(source, tmp_path / "bundle")


def test_a_damaged_model_that_nothing_needs_is_left_out_and_told(source: Workspace, tmp_path: Path) -> None:
    write_encoder(source, name="unneeded", version=2)
    (source.models / "unneeded" / "2" / "vocabulary.txt").write_text("other\n")

    report = export_bundle(source, tmp_path / "bundle")

    assert list(report.left_out) == ["model unneeded@2"]
    assert report.models == ["compass@1"]


def test_a_quarantined_version_is_left_out_and_told(source: Workspace, tmp_path: Path) -> None:
    first = live_version(source, COLLECTION)
    promote(source, COLLECTION, build_version(source))
    quarantine(source, COLLECTION, str(first))

    report = export_bundle(source, tmp_path / "bundle")

    assert list(report.left_out) == [f"index {first} of {COLLECTION}"]


def test_it_tells_how_far_it_has_come(source: Workspace, tmp_path: Path) -> None:
    told: list[Progress] = []

    export_bundle(source, tmp_path / "bundle", on_progress=told.append)

    assert list(dict.fromkeys(it.stage for it in told)) == ["database", "files", "try"]


def test_it_ends_and_is_of_one_moment_while_others_write(
    source: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.exporting._BACKUP_PAGES", 1)  # many steps, so that writes come between
    stop, started = threading.Event(), threading.Event()
    written: list[int] = []

    def write() -> None:
        with Workspace(source.root) as ws:
            while not stop.is_set():
                at = len(written)
                upsert_items(ws, COLLECTION, [Item(f"a{at}", text="north"), Item(f"b{at}", text="north")])
                written.append(at)
                started.set()

    writer = threading.Thread(target=write)
    writer.start()
    started.wait(20)
    before = len(written)
    try:
        report = export_bundle(source, tmp_path / "bundle")
    finally:
        stop.set()
        writer.join()

    assert len(written) > before + 1, "nobody wrote meanwhile"
    with opened(tmp_path / "bundle", tmp_path / "look") as ws:
        items = count_items(ws, COLLECTION)
        assert items == report.collections[COLLECTION].items
        assert (items - 23) % 2 == 0, "half of a write"
        assert items >= 23 + 2 * before
        with closing(sqlite3.connect(ws.root / "twinspire.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_version_that_is_pruned_meanwhile_is_replaced_by_what_is_live_now(
    source: Workspace, tmp_path: Path
) -> None:
    first, second = str(live_version(source, COLLECTION)), build_version(source)

    def replace(progress: Progress) -> None:
        if progress.stage == "database" and progress.done == progress.total:
            with Workspace(source.root) as ws:
                if live_version(ws, COLLECTION) == first:
                    promote(ws, COLLECTION, second)
                    delete_version(ws, COLLECTION, first)

    report = export_bundle(source, tmp_path / "bundle", on_progress=replace)

    assert report.collections[COLLECTION].live_version == second


def test_two_exports_to_one_place_do_not_mix(source: Workspace, tmp_path: Path) -> None:
    def export_too(progress: Progress) -> None:
        if progress.stage == "try":
            with Workspace(source.root) as ws, pytest.raises(Conflict, match="another process"):
                export_bundle(ws, tmp_path / "bundle")

    export_bundle(source, tmp_path / "bundle", on_progress=export_too)

    verify_bundle(tmp_path / "bundle", read_bundle(tmp_path / "bundle"))


def test_the_workspace_is_not_changed(
    source: Workspace, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    source.close()
    before = tree(source.root)
    with Workspace(source.root) as ws:
        export_bundle(ws, tmp_path / "bundle")

    after = tree(source.root)
    assert {name: it for name, it in after.items() if "twinspire.db" not in name} == {
        name: it for name, it in before.items() if "twinspire.db" not in name
    }
