"""Restoring a bundle into a new workspace: verified before anything is written, tried before it counts."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from indexer.bundle import FOLDERS, BundledCollection, BundleManifest, read_bundle, sha256, verify_bundle
from indexer.probing import SmokeTestFailed, check_probe
from indexer.progress import OnProgress, Progress, ignore_progress
from indexer.staging import seal_database, staged_folder, sync_tree, take_file
from retrieval.collections import collection_names, count
from retrieval.durable import sync_folder
from retrieval.errors import CorruptArtifact, UnusableWorkspace
from retrieval.failpoints import failpoint
from retrieval.publishing import live_version
from retrieval.workspace import DATABASE_FILE, Workspace

STAGED = ".restoring"
# What an empty folder may hold: a file system's own, the cache of the image, a deployment's keys.
_NOT_OURS = {"lost+found", ".cache", "keys.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What was restored."""

    files: int
    size: int  # bytes
    collections: Mapping[str, BundledCollection]
    searches: int  # that gave what they gave when the bundle was made
    left_out: Mapping[str, str]
    seconds: float


def import_bundle(bundle: Path, root: Path, on_progress: OnProgress = ignore_progress) -> RestoreReport:
    """Restore a bundle into a new workspace, and search each collection to see that it answers as it did.

    The bundle is verified whole before anything is written. The database is put in its place last, so
    there is either a workspace that was tried, or none. What a killed restoration left is cleared away by
    the next one.

    Args:
        bundle: the folder that an export made.
        root: the workspace to make: a folder that is not there, or is empty.
        on_progress: is told how far it has come.

    Raises:
        BundleNotFound: if there is no bundle.
        CorruptArtifact: if it is damaged; nothing was written.
        NewerFormat: if a later version of the software made it.
        UnusableWorkspace: if there is something in the folder already.
        SmokeTestFailed: if a search gives other hits than it gave when the bundle was made.
        StorageFull: if the disk is full.
    """
    started = time.monotonic()
    manifest = read_bundle(bundle)
    _require_free(root)
    verify_bundle(bundle, manifest, on_progress)
    new = not root.exists()
    try:
        with staged_folder(root / STAGED) as staged:
            _clear_half_restored(root)
            _copy(bundle, staged, manifest, on_progress)
            failpoint("restore-copied")
            searches = _try_out(staged, manifest, on_progress)
            seal_database(staged / DATABASE_FILE)
            _put_in_place(staged, root)
    finally:
        if new:
            with suppress(OSError):
                root.rmdir()  # unless something is in it
    return RestoreReport(
        files=len(manifest.files),
        size=manifest.size,
        collections=manifest.collections,
        searches=searches,
        left_out=manifest.left_out,
        seconds=time.monotonic() - started,
    )


def _require_free(root: Path) -> None:
    """Refuse a folder that holds anything but what a killed restoration left."""
    if not root.exists() and not root.is_symlink():
        return
    if not root.is_dir():
        raise UnusableWorkspace(f"{root.name!r} is not a folder: give a new workspace with --workspace")
    there = {entry.name for entry in root.iterdir()} - _NOT_OURS
    if there and (STAGED not in there or there - {STAGED, *FOLDERS}):
        raise UnusableWorkspace(f"{root.name!r} is not empty: give a new workspace with --workspace")


def _clear_half_restored(root: Path) -> None:
    for name in FOLDERS:
        if (root / name).exists():
            with staged_folder(root / name):
                pass  # it is emptied, and removed at the end


def _copy(bundle: Path, staged: Path, manifest: BundleManifest, on_progress: OnProgress) -> None:
    done = 0
    for name in FOLDERS:
        (staged / name).mkdir()
    for name, record in manifest.files.items():
        take_file(bundle / name, staged / name, link=False)
        if name == DATABASE_FILE and sha256(staged / name) != record.sha256:
            raise CorruptArtifact(f"bundle: {name} changed while it was copied")
        done += record.size
        on_progress(Progress("copy", done, manifest.size))
    sync_tree(staged)


def _try_out(staged: Path, manifest: BundleManifest, on_progress: OnProgress) -> int:
    """Open what was restored, and do each collection's search; return how many were done."""
    searches = 0
    with Workspace(staged) as ws:  # an older schema is brought up to date
        names = collection_names(ws)
        if set(names) != set(manifest.collections):
            raise SmokeTestFailed(f"the database holds other collections: {', '.join(names)}")
        for done, (name, expected) in enumerate(manifest.collections.items(), start=1):
            _compare(ws, name, expected)
            if expected.probe is not None:
                check_probe(ws, name, expected.live_version, expected.probe)
                searches += 1
            on_progress(Progress("try", done, len(names)))
    return searches


def _compare(ws: Workspace, collection: str, expected: BundledCollection) -> None:
    items, live = count(ws, collection).items, live_version(ws, collection) or ""
    if (items, live) != (expected.items, expected.live_version):
        raise SmokeTestFailed(
            f"collection {collection!r}: {items} items and live version {live or 'none'},"
            f" expected {expected.items} and {expected.live_version or 'none'}"
        )


def _put_in_place(staged: Path, root: Path) -> None:
    try:
        for name in FOLDERS:
            (staged / name).rename(root / name)
            failpoint("restore-folder-moved")
        sync_folder(root)
        failpoint("restore-not-committed")
        (staged / DATABASE_FILE).rename(root / DATABASE_FILE)  # from here on it is a workspace
        sync_folder(root)
    except BaseException:
        if not (root / DATABASE_FILE).exists():
            _clear_half_restored(root)
        raise
