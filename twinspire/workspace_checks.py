"""Checks of a workspace: can it be used, and is what it holds sound?"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import TwinspireError, UnusableWorkspace
from twinspire.checks import Check
from twinspire.media_checks import check_media

if TYPE_CHECKING:
    from retrieval.workspace import Workspace


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
        remedy = "restore twinspire.db from a backup, or upgrade Twinspire"
        if not isinstance(error, UnusableWorkspace):  # but full, or locked
            remedy = "nothing says that it is damaged: free some space, end what holds it, and look again"
        yield Check("database", "failed", str(error), remedy)
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
    from retrieval.manifest import read_verified
    from retrieval.publishing import list_versions

    for found in list_versions(workspace, collection):
        name = f"{collection}: index {found.version}"
        if found.state != "ready":
            yield Check(name, "warning", found.state, f"build another: `twinspire index {collection} ...`")
            continue
        try:
            read_verified(workspace.indexes / collection / found.version)
            yield Check(name, "ok", "every file matches the manifest")
        except TwinspireError as error:
            remedy = f"`twinspire versions rollback {collection}`, or build another with `twinspire index`"
            yield Check(name, "failed", str(error), remedy)


def _check_live(workspace: "Workspace", collection: str) -> Check:
    """Does the live version load, with its encoder, and hold every item?"""
    from retrieval.item_vectors import count_segments
    from retrieval.opening import open_index
    from retrieval.publishing import live_version
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
