"""Index versions: published whole, listed, switched by compare-and-set, set aside and deleted."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.collections import require_collection
from retrieval.database import Database
from retrieval.durable import sync_folder
from retrieval.embeddings import embedded_keys
from retrieval.errors import (
    CorruptArtifact,
    FailedPrecondition,
    PartialIndex,
    VersionMoved,
    VersionNotFound,
)
from retrieval.exact_index import KEYS_FILE, load_keys
from retrieval.failpoints import failpoint
from retrieval.index_build import redis_module
from retrieval.manifest import Manifest, check_count, read_verified, write_manifest
from retrieval.redis_layout import REDIS_FILE
from retrieval.workspace import Workspace, now, translate_sqlite_errors

READY, QUARANTINED = "ready", "quarantined"

_STAGED_PREFIX = ".staged-"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexVersion:
    """A published version."""

    version: str
    state: str  # ready or quarantined
    live: bool
    manifest: Manifest
    created_at: str


def new_version_folder(ws: Workspace, collection: str) -> Path:
    """Make an empty folder to build a version in, on the disk where it will stay.

    Folders that crashed builds left behind are removed.
    """
    parent = ws.indexes / collection
    with translate_sqlite_errors():
        parent.mkdir(parents=True, exist_ok=True)
        for folder in parent.glob(f"{_STAGED_PREFIX}*"):
            if not _is_running(folder.name.removeprefix(_STAGED_PREFIX).split("-")[0]):
                shutil.rmtree(folder, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{_STAGED_PREFIX}{os.getpid()}-", dir=parent))


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def publish(ws: Workspace, collection: str, staged: Path, manifest: Manifest) -> str:
    """Turn a folder that was built into a version, ready to be promoted.

    A crash at any point leaves either no version, or all of it.

    Returns:
        The version: a number that grows, and the beginning of the manifest's digest.

    Raises:
        CollectionNotFound: if the collection was deleted meanwhile.
        CorruptArtifact: if the index holds another number of vectors than the manifest says.
        StorageFull: if the disk is full; the live version is not touched.
    """
    check_count(staged, manifest)
    with translate_sqlite_errors():
        manifest = write_manifest(staged, manifest)
    body = manifest.to_json()
    digest = hashlib.sha256(body.encode()).hexdigest()[:8]
    failpoint("publish-manifest-written")
    if (staged / REDIS_FILE).exists():
        redis_module("sharing").keep(staged)
    with ws.atomic() as db:  # the write lock also keeps two publishers from one number
        require_collection(ws, collection)  # it may have been deleted meanwhile
        version = f"{_next_number(db, ws, collection):06d}-{digest}"
        staged.replace(ws.indexes / collection / version)
        sync_folder(ws.indexes / collection)
        failpoint("publish-folder-renamed")
        db.execute(
            "INSERT INTO indexes(collection, version, backend, fingerprint, state, manifest, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (collection, version, manifest.parameters.backend, manifest.fingerprint, READY, body, now()),
        )
        failpoint("publish-not-committed")
    failpoint("publish-committed")
    return version


def _next_number(db: Database, ws: Workspace, collection: str) -> int:
    recorded = db.execute("SELECT version FROM indexes WHERE collection = ?", (collection,)).fetchall()
    there = [name for (name,) in recorded] + [file.name for file in (ws.indexes / collection).iterdir()]
    numbers = [int(name.split("-")[0]) for name in there if name.split("-")[0].isdigit()]
    return max(numbers, default=0) + 1


def live_version(ws: Workspace, collection: str) -> str | None:
    """Return the version that a collection's alias points to; None if it has none."""
    rows = ws.fetch("SELECT version FROM aliases WHERE collection = ?", (collection,))
    return str(rows[0][0]) if rows else None


def list_versions(ws: Workspace, collection: str) -> list[IndexVersion]:
    """List a collection's versions, newest first."""
    live = live_version(ws, collection)
    rows = ws.fetch(
        "SELECT version, state, manifest, created_at FROM indexes WHERE collection = ? ORDER BY rowid DESC",
        (collection,),
    )
    return [
        IndexVersion(
            version=version,
            state=state,
            live=version == live,
            manifest=Manifest.from_json(manifest),
            created_at=created_at,
        )
        for version, state, manifest, created_at in rows
    ]


def promote(
    ws: Workspace,
    collection: str,
    version: str,
    expected: str | None = None,
    *,
    follow_windows: bool = True,
) -> None:
    """Make a version the live one, if the live one is still what the caller saw.

    Args:
        ws: the workspace.
        collection: its name.
        version: one that is ready.
        expected: the live version that the caller saw; "" = none was live; None = whatever it is.
        follow_windows: let later indexes cut sounds and videos into windows as long as this version's.

    Raises:
        VersionNotFound: if there is no such version.
        FailedPrecondition: if it is quarantined.
        CorruptArtifact: if its files differ from its manifest; it is quarantined then.
        PartialIndex: if it lacks vectors that were there when it was built.
        VersionMoved: if another one became live meanwhile.
    """
    require_ready(ws, collection, version)
    try:
        manifest = read_verified(ws.indexes / collection / version)
    except CorruptArtifact:
        quarantine(ws, collection, version)
        raise
    _require_complete(ws, collection, version, manifest)
    in_redis = _share_in_redis(ws, collection, version, manifest)
    with ws.atomic() as db:
        require_ready(ws, collection, version)
        live = live_version(ws, collection) or ""
        if expected is not None and live != expected:
            raise VersionMoved(
                f"expected live version {expected or 'none'}, found {live or 'none'}", live_version=live
            )
        if in_redis is not None:
            seen = live if expected is not None and (not live or _is_in_redis(ws, collection, live)) else None
            in_redis.go_live(collection, version, seen)
        if follow_windows:
            db.execute("UPDATE collections SET window_s = ? WHERE name = ?", (manifest.window_s, collection))
        if live == version:
            return
        db.execute(
            "INSERT INTO aliases(collection, version, previous, changed_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT(collection) DO UPDATE SET"
            " version = excluded.version, previous = excluded.previous, changed_at = excluded.changed_at",
            (collection, version, live, now()),
        )
        failpoint("promote-not-committed")
    failpoint("promote-committed")


def _share_in_redis(ws: Workspace, collection: str, version: str, manifest: Manifest) -> Any:
    """Put a version that lies in Redis there for servers without a database; None if it lies elsewhere."""
    if not _is_in_redis(ws, collection, version):
        return None
    sharing = redis_module("sharing")
    if not ws.mirrors_redis:
        sharing.share_version(ws, collection, version, manifest)
    return sharing


def check_backend(ws: Workspace, collection: str, version: str, manifest: Manifest) -> None:
    """Make sure that what lies outside of a version's folder is still there.

    Raises:
        IndexLost: if it is not.
        BackendUnavailable: if the backend does not answer.
    """
    if manifest.parameters.backend == "redis":
        redis_module("sharing").check_there(ws.indexes / collection / version, manifest)


def _is_in_redis(ws: Workspace, collection: str, version: str) -> bool:
    rows = ws.fetch("SELECT backend FROM indexes WHERE collection = ? AND version = ?", (collection, version))
    return bool(rows) and rows[0][0] == "redis"


def _require_complete(ws: Workspace, collection: str, version: str, manifest: Manifest) -> None:
    """Refuse an index that lacks vectors: nobody would ever find these items, and nobody would notice."""
    there = embedded_keys(ws, collection, manifest.fingerprint, window_s=manifest.window_s)
    expected = there[there <= manifest.built_key]
    missing = np.setdiff1d(
        expected, load_keys(ws.indexes / collection / version / KEYS_FILE), assume_unique=True
    )
    if len(missing):
        raise PartialIndex(version, len(missing), len(expected))


def require_ready(ws: Workspace, collection: str, version: str) -> None:
    """Refuse a version that can neither be promoted nor opened.

    Raises:
        VersionNotFound: if there is no such version.
        FailedPrecondition: if it is quarantined.
    """
    rows = ws.fetch("SELECT state FROM indexes WHERE collection = ? AND version = ?", (collection, version))
    if not rows:
        raise VersionNotFound(f"collection {collection!r} has no index version {version!r}")
    if rows[0][0] != READY:
        raise FailedPrecondition(f"index version {version} is quarantined: build a new one")


def roll_back(ws: Workspace, collection: str, expected: str | None = None) -> str:
    """Make the version that was live before the live one again, and return it.

    Raises:
        FailedPrecondition: if there is none.
        VersionMoved: if the live version is not `expected`.
    """
    rows = ws.fetch("SELECT previous FROM aliases WHERE collection = ?", (collection,))
    if not rows or not rows[0][0]:
        raise FailedPrecondition(f"collection {collection!r} has no version to roll back to")
    promote(ws, collection, rows[0][0], expected)
    return str(rows[0][0])


def quarantine(ws: Workspace, collection: str, version: str) -> None:
    """Set a version aside: it can neither be promoted nor opened any more."""
    with ws.atomic() as db:
        db.execute(
            "UPDATE indexes SET state = ? WHERE collection = ? AND version = ?",
            (QUARANTINED, collection, version),
        )


def version_folders(ws: Workspace, collection: str) -> list[Path]:
    """List the folders of versions, those too that a crash left behind; not what is being built."""
    folders = (ws.indexes / collection).glob("*")
    return [folder for folder in folders if not folder.name.startswith(_STAGED_PREFIX)]


def delete_version(ws: Workspace, collection: str, version: str) -> None:
    """Delete a version and its files. A server that has it open keeps serving it until it closes it.

    Raises:
        VersionNotFound: if there is no such version.
        FailedPrecondition: if it is live.
        BackendUnavailable: if its vectors lie in a Redis that does not answer.
    """
    with ws.atomic() as db:
        if live_version(ws, collection) == version:
            raise FailedPrecondition(f"index version {version} is live: promote another one first")
        deleted = db.execute(
            "DELETE FROM indexes WHERE collection = ? AND version = ?", (collection, version)
        )
        if deleted.rowcount == 0:
            raise VersionNotFound(f"collection {collection!r} has no index version {version!r}")
        if (
            ws.indexes / collection / version / REDIS_FILE
        ).exists():  # a Redis that is away keeps the version
            redis_module("sharing").discard(ws.indexes / collection / version)
    shutil.rmtree(ws.indexes / collection / version, ignore_errors=True)
