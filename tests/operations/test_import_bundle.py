import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.bundle import BundleNotFound, _digest, read_bundle, verify_bundle
from indexer.exporting import export_bundle
from indexer.probing import SmokeTestFailed
from indexer.progress import Progress
from indexer.restoring import import_bundle
from protos.twinspire.v1 import search_pb2
from retrieval.collections import create_collection
from retrieval.errors import Conflict, CorruptArtifact, NewerFormat, UnusableWorkspace
from retrieval.failpoints import FAILPOINT_VARIABLE
from retrieval.item_writes import upsert_items
from retrieval.items import Item, count_items
from retrieval.publishing import live_version, promote, roll_back
from retrieval.workspace import BUNDLE_FILE, Workspace
from server.local import LocalSearch
from tests.server.workspaces import COLLECTION, build_version
from twinspire.workspace_checks import check_workspace

ROOT = Path(__file__).parents[2]


def found(ws: Workspace, text: str) -> list[str]:
    with LocalSearch(ws) as local:
        request = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text=text), limit=3)
        return [hit.id for hit in local.search(request).hits]


def command(root: Path, *arguments: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twinspire", "--workspace", str(root), *arguments],
        cwd=ROOT,
        env=os.environ | {FAILPOINT_VARIABLE: failpoint},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_was_exported_is_there_again(source: Workspace, bundle: Path, tmp_path: Path) -> None:
    report = import_bundle(bundle, tmp_path / "new")

    assert report.searches == 1
    with Workspace(tmp_path / "new") as ws:
        assert count_items(ws, COLLECTION) == count_items(source, COLLECTION)
        assert live_version(ws, COLLECTION) == live_version(source, COLLECTION)
        assert found(ws, "red") == found(source, "red")


def test_what_was_written_since_the_last_build_is_found_again(source: Workspace, tmp_path: Path) -> None:
    upsert_items(source, COLLECTION, [Item("fresh", text="north north north")])
    build_version(source)  # encodes it; the version before stays live
    export_bundle(source, tmp_path / "bundle")

    import_bundle(tmp_path / "bundle", tmp_path / "new")

    with Workspace(tmp_path / "new") as ws:
        assert "fresh" in found(ws, "north")


def test_one_can_roll_back_after_a_restoration(source: Workspace, tmp_path: Path) -> None:
    first = live_version(source, COLLECTION)
    promote(source, COLLECTION, build_version(source))
    export_bundle(source, tmp_path / "bundle")

    import_bundle(tmp_path / "bundle", tmp_path / "new")

    with Workspace(tmp_path / "new") as ws:
        assert roll_back(ws, COLLECTION) == first


def test_a_restored_workspace_does_not_share_files_with_the_bundle(bundle: Path, tmp_path: Path) -> None:
    import_bundle(bundle, tmp_path / "new")

    assert not any(os.path.samefile(bundle / it, tmp_path / "new" / it) for it in read_bundle(bundle).files)


def test_a_restored_workspace_can_be_written_and_the_bundle_stays_sound(bundle: Path, tmp_path: Path) -> None:
    import_bundle(bundle, tmp_path / "new")
    with Workspace(tmp_path / "new") as ws:
        upsert_items(ws, COLLECTION, [Item("more", text="north")])
        promote(ws, COLLECTION, build_version(ws))

    verify_bundle(bundle, read_bundle(bundle))


def test_a_collection_without_an_index_comes_back(source: Workspace, tmp_path: Path) -> None:
    create_collection(source, "new")
    export_bundle(source, tmp_path / "bundle")

    report = import_bundle(tmp_path / "bundle", tmp_path / "restored")

    assert (len(report.collections), report.searches) == (2, 1)


def test_an_empty_folder_is_filled(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "keys.json").write_text("{}")

    import_bundle(bundle, tmp_path / "new")

    assert {it.name for it in (tmp_path / "new").iterdir()} == {
        "keys.json",
        "indexes",
        "models",
        "twinspire.db",
    }


def test_a_workspace_is_not_written_over(source: Workspace, bundle: Path) -> None:
    with pytest.raises(UnusableWorkspace, match="not empty"):
        import_bundle(bundle, source.root)

    assert found(source, "red")


def test_a_folder_with_something_else_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "new" / "models").mkdir(parents=True)

    with pytest.raises(UnusableWorkspace, match="not empty"):
        import_bundle(bundle, tmp_path / "new")

    assert [it.name for it in (tmp_path / "new").iterdir()] == ["models"]


def every_file(bundle: Path) -> list[Path]:
    return sorted(it for it in bundle.rglob("*") if it.is_file())


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def emptied(file: Path) -> None:
    os.truncate(file, 0)


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def longer(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"\n")


def linked_away(file: Path) -> None:
    elsewhere = Path(str(file) + ".elsewhere")
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


@pytest.mark.parametrize("damage", [truncated, emptied, flipped, longer, Path.unlink, linked_away])
def test_a_damaged_bundle_is_refused_before_anything_is_written(
    source: Workspace, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    export_bundle(source, tmp_path / "bundle0", copy=True)
    for at, file in enumerate(every_file(tmp_path / "bundle0"), start=1):
        relative = file.relative_to(tmp_path / "bundle0")
        if relative.name == BUNDLE_FILE and damage in (longer, linked_away):
            continue  # the same JSON
        bundle = tmp_path / f"bundle{at}"
        export_bundle(source, bundle, copy=True)
        damage(bundle / relative)

        with pytest.raises((CorruptArtifact, BundleNotFound)) as caught:
            import_bundle(bundle, tmp_path / "new")

        assert not (tmp_path / "new").exists(), relative
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/hostname", "models/../../outside", "models//x", "elsewhere/x", "models"]
)
def test_a_file_that_no_bundle_holds_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    rewrite(bundle, lambda body: body["files"].update({name: {"sha256": "0" * 64, "size": 1}}))

    with pytest.raises(CorruptArtifact, match="no bundle holds"):
        import_bundle(bundle, tmp_path / "new")


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest, and make its digest fit."""
    body = json.loads((bundle / BUNDLE_FILE).read_text())
    body.pop("sha256")
    change(body)
    (bundle / BUNDLE_FILE).write_text(json.dumps(body | {"sha256": _digest(body)}))


def test_a_newer_bundle_asks_for_an_upgrade(bundle: Path, tmp_path: Path) -> None:
    rewrite(bundle, lambda body: body.update(format=99))

    with pytest.raises(NewerFormat, match="upgrade"):
        import_bundle(bundle, tmp_path / "new")


@pytest.mark.parametrize("junk", ["", "{}", "[]", "null", "[" * 100_000, '{"sha256": 1, "format": 1}'])
def test_junk_is_no_manifest(bundle: Path, tmp_path: Path, junk: str) -> None:
    (bundle / BUNDLE_FILE).write_text(junk)

    with pytest.raises(CorruptArtifact):
        import_bundle(bundle, tmp_path / "new")


def test_a_folder_without_a_manifest_is_no_bundle(source: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match="twinspire export"):
        import_bundle(source.root, tmp_path / "new")


def test_other_hits_than_before_leave_no_workspace(bundle: Path, tmp_path: Path) -> None:
    def other_hits(body: dict[str, Any]) -> None:
        body["collections"][COLLECTION]["probe"]["hits"][0] = ["south", 1.0]

    rewrite(bundle, other_hits)

    with pytest.raises(SmokeTestFailed, match="did not find 'south'"):
        import_bundle(bundle, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_other_scores_than_before_leave_no_workspace(bundle: Path, tmp_path: Path) -> None:
    def other_scores(body: dict[str, Any]) -> None:
        body["collections"][COLLECTION]["probe"]["hits"][0] = ["north", 0.9]

    rewrite(bundle, other_scores)

    with pytest.raises(SmokeTestFailed, match=r"expected 'north' \(0.900\)"):
        import_bundle(bundle, tmp_path / "new")


def test_a_bundle_on_a_read_only_folder_is_restored(bundle: Path, tmp_path: Path) -> None:
    folders = [bundle, *(it for it in bundle.rglob("*") if it.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        import_bundle(bundle, tmp_path / "new")
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_two_restorations_into_one_workspace_do_not_mix(bundle: Path, tmp_path: Path) -> None:
    def restore_too(progress: Progress) -> None:
        if progress.stage == "try":
            with pytest.raises(Conflict, match="another process"):
                import_bundle(bundle, tmp_path / "new")

    import_bundle(bundle, tmp_path / "new", restore_too)

    with Workspace(tmp_path / "new") as ws:
        assert found(ws, "red")


def test_a_bundle_is_not_opened_as_a_workspace(
    bundle: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    before = tree(bundle)

    with pytest.raises(UnusableWorkspace, match="import-bundle"):
        Workspace(bundle)
    assert tree(bundle) == before


def test_the_doctor_verifies_a_bundle(bundle: Path) -> None:
    assert [(it.name, it.state) for it in check_workspace(bundle)] == [("bundle", "ok")]
    flipped(bundle / "twinspire.db")

    assert [(it.name, it.state) for it in check_workspace(bundle)] == [("bundle", "failed")]


def test_the_doctor_tells_of_a_restoration_that_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / ".restoring").mkdir()

    assert next(it.name for it in check_workspace(tmp_path)) == "restoration"


EXPORT_POINTS = ["export-database-copied", "export-files-taken", "bundle-half-written", "export-not-renamed"]
RESTORE_POINTS = [
    "restore-copied",
    "restore-folder-moved:1",
    "restore-folder-moved:2",
    "restore-not-committed",
]


@pytest.mark.slow
@pytest.mark.parametrize("point", EXPORT_POINTS)
def test_an_export_that_is_killed_leaves_no_bundle_and_the_next_one_succeeds(
    source: Workspace, tmp_path: Path, point: str
) -> None:
    bundle = tmp_path / "bundle"

    assert command(source.root, "export", str(bundle), failpoint=point).returncode == -signal.SIGKILL
    assert not bundle.exists()

    assert command(source.root, "export", str(bundle)).returncode == 0
    import_bundle(bundle, tmp_path / "new")
    assert {it.name for it in tmp_path.iterdir()} == {"workspace", "bundle", "new"}


@pytest.mark.slow
@pytest.mark.parametrize("point", RESTORE_POINTS)
def test_a_restoration_that_is_killed_leaves_no_workspace_and_the_next_one_succeeds(
    bundle: Path, tmp_path: Path, point: str
) -> None:
    new = tmp_path / "new"

    assert command(new, "import-bundle", str(bundle), failpoint=point).returncode == -signal.SIGKILL
    with pytest.raises(UnusableWorkspace):
        Workspace(new)

    done = command(new, "import-bundle", str(bundle))
    assert done.returncode == 0, done.stderr
    with Workspace(new) as ws:
        assert found(ws, "red")
    assert {it.name for it in new.iterdir()} == {"indexes", "models", "twinspire.db"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", ["export-database-copied=nospace", "bundle-half-written=nospace", "bundle-not-renamed=readonly"]
)
def test_an_export_that_cannot_be_written_leaves_nothing(
    source: Workspace, tmp_path: Path, point: str
) -> None:
    failed = command(source.root, "export", str(tmp_path / "bundle"), failpoint=point)

    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("Error: ")
    assert [it.name for it in tmp_path.iterdir()] == ["workspace"]


@pytest.mark.slow
@pytest.mark.parametrize("point", ["restore-copied=nospace", "restore-folder-moved:2=nospace"])
def test_a_restoration_that_cannot_be_written_leaves_nothing(
    bundle: Path, tmp_path: Path, point: str
) -> None:
    failed = command(tmp_path / "new", "import-bundle", str(bundle), failpoint=point)

    assert failed.returncode == 1
    assert "the disk is full" in failed.stderr
    assert not (tmp_path / "new").exists()


def test_the_commands_tell_what_they_did(source: Workspace, tmp_path: Path) -> None:
    exported = command(source.root, "export", str(tmp_path / "bundle"), "--json")
    restored = command(tmp_path / "new", "import-bundle", str(tmp_path / "bundle"))

    assert json.loads(exported.stdout)["collections"][COLLECTION]["items"] == 23
    assert "1 of 1 searched" in restored.stdout


def test_a_damaged_bundle_is_told_in_one_line(bundle: Path, tmp_path: Path) -> None:
    flipped(bundle / "twinspire.db")

    failed = command(tmp_path / "new", "import-bundle", str(bundle))

    assert failed.returncode == 1
    (line,) = [it for it in failed.stderr.splitlines() if it.startswith("Error")]
    assert "twinspire.db has sha256" in line
