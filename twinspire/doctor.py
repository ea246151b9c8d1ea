"""Checks of everything that a user may have got wrong, each with what mends it."""

import importlib.util
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from retrieval.errors import TwinspireError, Unauthenticated
from twinspire.media_checks import check_media

if TYPE_CHECKING:
    from retrieval.workspace import Workspace
    from twinspire.client import Client

State: TypeAlias = Literal["ok", "warning", "failed"]

OLDEST_PYTHON = (3, 11)
SCARCE_DISK_BYTES = 1 << 30
NO_DISK_BYTES = 100 << 20
# Extra -> the modules that tell whether it is installed, and what one cannot do without it.
EXTRAS = {
    "cpu": (("faiss",), "build and search indexes"),
    "train": (("torch", "gensim", "ir_measures", "tokenizers", "optuna"), "train and evaluate"),
    "hf": (("transformers",), "run pretrained encoders"),
    "onnx": (("onnxruntime",), "serve pretrained text encoders without torch"),
    "image": (("PIL",), "read pictures"),
    "audio": (("soundfile", "soxr"), "read sounds"),
    "video": (("av",), "read videos"),
    "parquet": (("pyarrow",), "import Parquet files"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Describe it as JSON."""
        return asdict(self)


def examine(root: Path, target: str, connect: "Callable[..., Client]") -> Iterator[Check]:
    """Check this machine, a workspace, and whoever listens at host:port, in that order."""
    yield check_python()
    yield check_sqlite()
    for extra in EXTRAS:
        yield check_extra(extra)
    yield check_faiss()
    yield check_disk(root)
    yield from _redis_checks()
    try:
        yield from check_workspace(root)
    except Exception as error:  # whatever is broken is what the doctor is there to tell
        found = f"{type(error).__name__}: {error}"
        yield Check("workspace contents", "failed", found, "this is a fault of ours: please report it")
    yield from check_keys(root)
    yield check_server(target, connect)


def _redis_checks() -> Iterator[Check]:
    from twinspire.redis_checks import check_redis

    try:
        yield from check_redis()
    except Exception as error:  # what answers there may be anything
        found = f"{type(error).__name__} while it was examined"
        yield Check("Redis", "failed", found, "this is a fault of ours: please report it")


def check_python() -> Check:
    """Is Python new enough?"""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Check("Python", "ok", found)
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return Check("Python", "failed", found, f"install Python {wanted} or newer and make the environment anew")


def check_sqlite() -> Check:
    """Has SQLite full-text search?"""
    try:
        with sqlite3.connect(":memory:") as connection:
            connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.Error as error:
        return Check("SQLite", "failed", str(error), "use a Python whose SQLite has FTS5")
    return Check("SQLite", "ok", f"{sqlite3.sqlite_version} with FTS5")


def check_extra(extra: str) -> Check:
    """Is an extra installed?"""
    modules, purpose = EXTRAS[extra]
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return Check(f"extra {extra}", "ok", ", ".join(f"{name} {_version(name)}" for name in modules))
    remedy = f"to {purpose}: pip install 'twinspire[{extra}]'"
    return Check(f"extra {extra}", "warning", f"without {', '.join(missing)}", remedy)


def _version(module: str) -> str:
    known = {"PIL": "pillow"}
    for distribution in (known.get(module, module), f"{module}-cpu", module.replace("_", "-")):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return ""


def check_faiss() -> Check:
    """Does FAISS search?"""
    try:
        import faiss
        import numpy as np

        index = faiss.IndexFlatIP(2)
        index.add(np.eye(2, dtype=np.float32))
        _, found = index.search(np.eye(2, dtype=np.float32), 1)
        works = found.ravel().tolist() == [0, 1]
    except Exception as error:
        remedy = "pip install --force-reinstall 'twinspire[cpu]'"
        return Check("FAISS", "failed", f"{type(error).__name__}: {error}", remedy)
    if works:
        return Check("FAISS", "ok", f"{faiss.__version__} finds what it should")
    return Check("FAISS", "failed", "finds the wrong vectors", "reinstall faiss-cpu for this processor")


def check_disk(root: Path) -> Check:
    """Is there room to work?"""
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 2**30:.1f} GiB free"
    remedy = "free some space: an index and its vectors take about 2 KiB an item"
    if free < NO_DISK_BYTES:
        return Check("disk", "failed", found, remedy)
    return Check("disk", "warning" if free < SCARCE_DISK_BYTES else "ok", found, remedy)


def check_workspace(root: Path) -> Iterator[Check]:
    """Can the workspace be opened and written, and is what it holds sound?"""
    from retrieval.workspace import Workspace

    if (root / "bundle.json").exists():
        yield check_bundle(root)
        return
    if (root / ".restoring").exists():
        remedy = "run `twinspire import-bundle` again: it clears away what was left"
        yield Check("restoration", "warning", f"one into {root} runs, or was interrupted", remedy)
    if not (root / "twinspire.db").exists():
        remedy = "`twinspire import` makes one; for another folder give --workspace or TWINSPIRE_WORKSPACE"
        yield Check("workspace", "warning", f"none in {root}", remedy)
        return
    yield _check_writable(root)
    try:
        workspace = Workspace(root)
    except TwinspireError as error:
        yield Check(
            "database", "failed", str(error), "restore twinspire.db from a backup, or upgrade Twinspire"
        )
        return
    with workspace:
        yield _check_database(workspace)
        yield from _check_models(workspace)
        yield from _check_collections(workspace)
        yield from check_media(workspace)


def check_bundle(bundle: Path) -> Check:
    """Is a bundle sound?"""
    from indexer.bundle import read_bundle, verify_bundle

    try:
        manifest = read_bundle(bundle)
        verify_bundle(bundle, manifest)
    except TwinspireError as error:
        return Check("bundle", "failed", str(error), "take another one: `twinspire export` makes it")
    found = f"of {manifest.created_at}, {len(manifest.files)} files, every one matches its digest"
    remedy = f"it is no workspace: `twinspire --workspace NEW import-bundle {bundle}` restores it"
    return Check("bundle", "ok", found, remedy)


def _check_writable(root: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=root):
            pass
        writable = os.access(root / "twinspire.db", os.W_OK)
    except OSError:
        writable = False
    if writable:
        return Check("workspace", "ok", f"{root} can be written")
    return Check(
        "workspace", "failed", f"{root} cannot be written", f"give yourself the right to write {root}"
    )


def _check_database(workspace: "Workspace") -> Check:
    (found,) = workspace.fetch("PRAGMA quick_check(1)")[0]
    if found == "ok":
        return Check("database", "ok", "sound, its schema is up to date")
    return Check("database", "failed", str(found), "restore twinspire.db from a backup")


def _check_models(workspace: "Workspace") -> Iterator[Check]:
    from encoders.card import read_card
    from retrieval.registry import list_models

    for model in list_models(workspace):
        name = f"model {model.reference}"
        remedy = f"restore {model.folder} from a backup, or train again"
        try:
            card = read_card(model.folder)
        except TwinspireError as error:
            yield Check(name, "failed", str(error), remedy)
            continue
        if card.fingerprint == model.fingerprint:
            yield Check(name, "ok", f"files match the card, fingerprint {card.fingerprint[:12]}")
        else:
            found = f"fingerprint {card.fingerprint[:12]}, registered {model.fingerprint[:12]}"
            yield Check(name, "failed", found, remedy)


def _check_collections(workspace: "Workspace") -> Iterator[Check]:
    from retrieval.collections import collection_names

    for collection in collection_names(workspace):
        yield from _check_versions(workspace, collection)
        try:
            yield _check_live(workspace, collection)
        except TwinspireError as error:
            remedy = f"build another index: `twinspire index {collection} --encoder NAME`"
            yield Check(f"{collection}: live", "failed", str(error), remedy)


def _check_versions(workspace: "Workspace", collection: str) -> Iterator[Check]:
    from retrieval.publishing import list_versions, read_verified

    for found in list_versions(workspace, collection):
        name = f"{collection}: index {found.version}"
        if found.state != "ready":
            yield Check(name, "warning", found.state, f"build another: `twinspire index {collection} ...`")
            continue
        try:
            read_verified(workspace, collection, found.version)
            yield Check(name, "ok", "every file matches the manifest")
        except TwinspireError as error:
            remedy = f"`twinspire versions rollback {collection}`, or build another with `twinspire index`"
            yield Check(name, "failed", str(error), remedy)


def _check_live(workspace: "Workspace", collection: str) -> Check:
    """Does the live version load, with its encoder, and hold every item?"""
    from retrieval.item_vectors import count_segments
    from retrieval.publishing import live_version, open_index
    from retrieval.registry import model_by_fingerprint

    name = f"{collection}: live"
    live = live_version(workspace, collection)
    if live is None:
        remedy = f"`twinspire index {collection} --encoder NAME` builds one and makes it live"
        return Check(name, "warning", "nothing is live", remedy)
    opened = open_index(workspace, collection, live)
    try:
        manifest = opened.manifest
        model = model_by_fingerprint(workspace, manifest.fingerprint)
        unindexed = count_segments(workspace, collection, after_key=manifest.built_key)
    finally:
        opened.index.close()
    found = f"{live} by {model.reference}, {manifest.count:,} vectors"
    if unindexed > 0:
        remedy = f"`twinspire index {collection} --encoder {model.name}` takes them in"
        return Check(name, "warning", f"{found}; {unindexed:,} newer segments are not in it", remedy)
    return Check(name, "ok", found)


def check_keys(root: Path) -> Iterator[Check]:
    """Can the keys be read, where there are any, and are they in force?"""
    from server.keys import FILE_NAME, read_keys

    if not (root / FILE_NAME).exists():
        return
    try:
        keys = read_keys(root / FILE_NAME)
    except TwinspireError as error:
        yield Check("keys", "failed", str(error), "mend it, or make it anew with `twinspire keys add`")
        return
    expired = [key.name for key in keys if key.expired(datetime.now(UTC))]
    if expired:
        remedy = f"`twinspire keys revoke {expired[0]}` clears it away"
        yield Check("keys", "warning", f"{len(keys)}, expired: {', '.join(expired)}", remedy)
    else:
        yield Check("keys", "ok", f"{len(keys)}, all in force")


def check_server(target: str, connect: "Callable[..., Client]") -> Check:
    """Who listens at host:port?"""
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=2.0):
            pass
    except (OSError, ValueError):
        return Check("server", "ok", f"nobody listens on {target}: the port is free for `twinspire serve`")
    try:
        with connect(target, timeout_s=3.0) as client:
            info = client.server_info()
            ready = client.is_ready()
    except Unauthenticated as error:
        remedy = "give it a key that is in force, with --api-key-file or TWINSPIRE_API_KEY"
        return Check("server", "warning", f"Twinspire on {target} asks for a key: {error}", remedy)
    except TwinspireError:
        remedy = "serve on another port: `twinspire serve --port 0` chooses one"
        return Check("server", "warning", f"another program listens on {target}", remedy)
    found = f"Twinspire {info.version} answers on {target}"
    if ready:
        return Check("server", "ok", f"{found}, ready")
    remedy = "wait until its indexes are loaded, or build one with `twinspire index`"
    return Check("server", "warning", f"{found}, but serves no collection", remedy)
