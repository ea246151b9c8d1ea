"""Versions: published whole, switched by compare-and-set, quarantined when their bytes rot."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import (
    CorruptArtifact,
    FailedPrecondition,
    NewerFormat,
    VersionMoved,
    VersionNotFound,
)
from retrieval.failpoints import FAILPOINT_VARIABLE
from retrieval.manifest import MANIFEST_FILE, read_manifest
from retrieval.opening import open_index, open_live
from retrieval.publishing import (
    delete_version,
    list_versions,
    live_version,
    new_version_folder,
    promote,
    publish,
    quarantine,
    roll_back,
)
from retrieval.workspace import Workspace
from tests.retrieval.index_versions import publish_some
from tests.vectors import unit_rows


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def open_live_version(ws: Workspace) -> str:
    opened = open_live(ws, "c")
    assert opened is not None
    return opened.version


def test_a_collection_begins_without_a_version(workspace: Workspace) -> None:
    assert live_version(workspace, "c") is None
    assert open_live(workspace, "c") is None


def test_a_published_version_is_not_live_until_promoted(workspace: Workspace) -> None:
    version = publish_some(workspace)

    assert live_version(workspace, "c") is None
    promote(workspace, "c", version)
    assert live_version(workspace, "c") == version


def test_versions_are_numbered(workspace: Workspace) -> None:
    first, second = publish_some(workspace), publish_some(workspace, seed=1)

    assert first.startswith("000001-")
    assert second.startswith("000002-")
    assert [each.version for each in list_versions(workspace, "c")] == [second, first]


def test_an_open_version_answers(workspace: Workspace) -> None:
    version = publish_some(workspace)

    opened = open_index(workspace, "c", version)

    assert opened.index.search(unit_rows(20), limit=1).keys[:, 0].tolist() == list(range(1, 21))
    assert opened.manifest.count == 20
    assert opened.manifest.parameters.recall == 1.0


def test_the_manifest_lists_every_file(workspace: Workspace) -> None:
    folder = workspace.indexes / "c" / publish_some(workspace)

    manifest = read_manifest(folder)

    assert manifest is not None
    assert sorted(manifest.files) == ["index.faiss", "keys.npy"]
    assert manifest.files["keys.npy"].size == (folder / "keys.npy").stat().st_size


def test_the_loser_of_two_publishers_is_told(workspace: Workspace) -> None:
    first, second, third = (publish_some(workspace, seed=seed) for seed in range(3))
    promote(workspace, "c", first, expected="")
    promote(workspace, "c", second, expected=first)

    with pytest.raises(VersionMoved, match=f"expected live version {first}, found {second}"):
        promote(workspace, "c", third, expected=first)
    assert live_version(workspace, "c") == second


def test_of_many_publishers_at_once_one_wins(workspace: Workspace) -> None:
    first, *others = (publish_some(workspace, seed=seed) for seed in range(6))
    promote(workspace, "c", first)

    def outcome(version: str) -> str:
        try:
            promote(workspace, "c", version, expected=first)
        except VersionMoved:
            return "moved"
        return version

    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(outcome, others))

    assert sorted(outcomes)[1:] == ["moved"] * 4
    assert live_version(workspace, "c") == min(outcomes)


def test_publishers_at_once_get_different_numbers(workspace: Workspace) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda seed: publish_some(workspace, seed=seed), range(8)))

    assert sorted(version.split("-")[0] for version in versions) == [f"{n:06d}" for n in range(1, 9)]


def test_an_unknown_version_cannot_be_promoted(workspace: Workspace) -> None:
    with pytest.raises(VersionNotFound):
        promote(workspace, "c", "000009-aaaaaaaa")


def test_a_quarantined_version_cannot_be_promoted_or_opened(workspace: Workspace) -> None:
    version = publish_some(workspace)
    quarantine(workspace, "c", version)

    with pytest.raises(FailedPrecondition, match="quarantined"):
        promote(workspace, "c", version)
    with pytest.raises(FailedPrecondition, match="quarantined"):
        open_index(workspace, "c", version)


def test_rolling_back_restores_the_version_before(workspace: Workspace) -> None:
    first, second = publish_some(workspace), publish_some(workspace, seed=1)
    promote(workspace, "c", first)
    promote(workspace, "c", second)

    assert roll_back(workspace, "c") == first
    assert live_version(workspace, "c") == first


def test_the_first_version_cannot_be_rolled_back(workspace: Workspace) -> None:
    promote(workspace, "c", publish_some(workspace))

    with pytest.raises(FailedPrecondition, match="no version to roll back to"):
        roll_back(workspace, "c")


def test_a_live_version_cannot_be_deleted(workspace: Workspace) -> None:
    version = publish_some(workspace)
    promote(workspace, "c", version)

    with pytest.raises(FailedPrecondition, match="is live"):
        delete_version(workspace, "c", version)


def test_deleting_a_version_removes_its_files(workspace: Workspace) -> None:
    version = publish_some(workspace)

    delete_version(workspace, "c", version)

    assert list_versions(workspace, "c") == []
    assert not (workspace.indexes / "c" / version).exists()


@pytest.mark.parametrize("file", ["index.faiss", "keys.npy"])
def test_a_flipped_bit_is_found_and_the_version_before_served(workspace: Workspace, file: str) -> None:
    first, second = publish_some(workspace), publish_some(workspace, seed=1)
    promote(workspace, "c", first)
    promote(workspace, "c", second)
    flip_a_bit(workspace.indexes / "c" / second / file)

    assert open_live_version(workspace) == first
    assert live_version(workspace, "c") == first
    states = {each.version: each.state for each in list_versions(workspace, "c")}
    assert states == {first: "ready", second: "quarantined"}


@pytest.mark.parametrize("file", ["index.faiss", "keys.npy"])
def test_a_truncated_file_is_data_loss(workspace: Workspace, file: str) -> None:
    version = publish_some(workspace)
    path = workspace.indexes / "c" / version / file
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(CorruptArtifact, match=f"{file} has .* bytes, expected"):
        open_index(workspace, "c", version)


@pytest.mark.parametrize("file", ["index.faiss", "keys.npy"])
def test_a_missing_file_is_data_loss(workspace: Workspace, file: str) -> None:
    version = publish_some(workspace)
    (workspace.indexes / "c" / version / file).unlink()

    with pytest.raises(CorruptArtifact, match=f"{file} is missing"):
        open_index(workspace, "c", version)


def test_a_rotten_version_is_refused_at_promotion_and_quarantined(workspace: Workspace) -> None:
    version = publish_some(workspace)
    flip_a_bit(workspace.indexes / "c" / version / "index.faiss")

    with pytest.raises(CorruptArtifact):
        promote(workspace, "c", version)
    assert list_versions(workspace, "c")[0].state == "quarantined"


def test_data_loss_is_told_when_no_version_is_sound(workspace: Workspace) -> None:
    version = publish_some(workspace)
    promote(workspace, "c", version)
    flip_a_bit(workspace.indexes / "c" / version / "index.faiss")

    for _ in range(2):
        with pytest.raises(CorruptArtifact):
            open_live(workspace, "c")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda file: file.unlink(), id="missing"),
        pytest.param(lambda file: file.write_text(file.read_text()[:100]), id="half written"),
        pytest.param(lambda file: file.write_text("{}"), id="empty"),
        pytest.param(lambda file: file.write_bytes(b"\xff\x00"), id="junk"),
    ],
)
def test_a_bad_manifest_gives_way_to_the_version_before(
    workspace: Workspace, change: Callable[[Path], object]
) -> None:
    first, second = publish_some(workspace), publish_some(workspace, seed=1)
    promote(workspace, "c", first)
    promote(workspace, "c", second)
    change(workspace.indexes / "c" / second / MANIFEST_FILE)

    assert open_live_version(workspace) == first


def test_a_newer_manifest_asks_for_an_upgrade_and_stays_live(workspace: Workspace) -> None:
    first, second = publish_some(workspace), publish_some(workspace, seed=1)
    promote(workspace, "c", first)
    promote(workspace, "c", second)
    file = workspace.indexes / "c" / second / MANIFEST_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99, "unheard": "of"}))

    with pytest.raises(NewerFormat, match="upgrade"):
        open_live(workspace, "c")
    assert live_version(workspace, "c") == second


def test_a_count_that_differs_from_the_manifest_is_data_loss(workspace: Workspace) -> None:
    version = publish_some(workspace)
    file = workspace.indexes / "c" / version / MANIFEST_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"count": 21}))

    with pytest.raises(CorruptArtifact, match="holds 20 vectors, its manifest says 21"):
        open_index(workspace, "c", version)


def test_an_array_of_objects_is_refused(workspace: Workspace) -> None:
    folder = new_version_folder(workspace, "c")
    np.save(folder / "keys.npy", np.array([{}], dtype=object))
    manifest = open_index(workspace, "c", publish_some(workspace)).manifest

    with pytest.raises(CorruptArtifact, match=r"keys\.npy cannot be read"):
        publish(workspace, "c", folder, manifest)


def test_a_read_only_workspace_still_serves_the_version_before(workspace: Workspace) -> None:
    first, second = publish_some(workspace), publish_some(workspace, seed=1)
    promote(workspace, "c", first)
    promote(workspace, "c", second)
    flip_a_bit(workspace.indexes / "c" / second / "index.faiss")
    workspace.db.execute("PRAGMA query_only = 1")

    assert open_live_version(workspace) == first
    assert live_version(workspace, "c") == second


def publish_in_a_process(workspace: Workspace, failpoint: str) -> int:
    program = Path(__file__).with_name("index_versions.py")
    root = Path(__file__).parents[2]
    environment = os.environ | {FAILPOINT_VARIABLE: failpoint, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, str(program), str(workspace.root)], env=environment, check=False
    ).returncode


def test_nobody_dies_without_a_failpoint(workspace: Workspace) -> None:
    assert publish_in_a_process(workspace, "") == 0
    assert open_live_version(workspace).startswith("000001-")


@pytest.mark.parametrize(
    ("failpoint", "live_after"),
    [
        ("manifest-files-synced", "old"),
        ("manifest-half-written", "old"),
        ("manifest-not-renamed", "old"),
        ("publish-manifest-written", "old"),
        ("publish-folder-renamed", "old"),
        ("publish-not-committed", "old"),
        ("publish-committed", "old"),
        ("promote-not-committed", "old"),
        ("promote-committed", "new"),
    ],
)
def test_kill_9_while_publishing_leaves_old_or_new(
    workspace: Workspace, failpoint: str, live_after: str
) -> None:
    old = publish_some(workspace)
    promote(workspace, "c", old)

    assert publish_in_a_process(workspace, failpoint) == -signal.SIGKILL

    opened = open_live(workspace, "c")
    assert opened is not None
    assert (opened.version == old) == (live_after == "old")
    assert opened.manifest.count == (20 if live_after == "old" else 30)
    promote(workspace, "c", publish_some(workspace, seed=2))  # and the next publisher is not hindered
    assert not list((workspace.indexes / "c").glob(".staged-*"))
