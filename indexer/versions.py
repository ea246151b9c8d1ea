"""Which versions there are already: one that needs no new build, and those that are old enough to go."""

from contextlib import suppress
from dataclasses import replace

import numpy as np

from retrieval.backend_errors import IndexLost
from retrieval.errors import CorruptArtifact, FailedPrecondition, NewerFormat, VersionNotFound
from retrieval.exact_index import KEYS_FILE, load_keys
from retrieval.index import Keys
from retrieval.index_types import IndexParameters
from retrieval.manifest import read_verified
from retrieval.publishing import (
    READY,
    IndexVersion,
    check_backend,
    delete_version,
    list_versions,
    quarantine,
)
from retrieval.workspace import Workspace


def find_equal(
    ws: Workspace,
    collection: str,
    fingerprint: str,
    keys: Keys,
    wanted: IndexParameters,
    queries: str,
    window_s: float = 0.0,
) -> IndexVersion | None:
    """Find a sound version that a new build would only repeat; the live one before others.

    A version whose files rotted is quarantined on the way.

    Args:
        ws: the workspace.
        collection: its name.
        fingerprint: of the encoder.
        keys: the segments that the new build would hold, ascending.
        wanted: the parameters that it would have.
        queries: the digest of the queries that it would learn from.
        window_s: the length of the windows that it would hold.
    """
    ready = [version for version in list_versions(ws, collection) if version.state == READY]
    for version in sorted(ready, key=lambda version: not version.live):
        manifest = version.manifest
        if (
            manifest.fingerprint != fingerprint
            or manifest.count != len(keys)
            or manifest.window_s != window_s
            or manifest.statistics.get("queries", "") != queries
            or not _same(manifest.parameters, wanted)
        ):
            continue
        try:
            manifest = read_verified(ws.indexes / collection / version.version)
            check_backend(ws, collection, version.version, manifest)
        except CorruptArtifact:
            quarantine(ws, collection, version.version)
            continue
        except (NewerFormat, IndexLost):
            continue
        held = load_keys(ws.indexes / collection / version.version / KEYS_FILE)
        if np.array_equal(held, keys):
            return version
    return None


def _same(built: IndexParameters, wanted: IndexParameters) -> bool:
    """Compare what was asked for, leaving out what the build itself measured and fitted."""
    if not wanted.effort:
        built = replace(built, effort=0)
    if built.kind == "ivf":
        wanted = replace(wanted, nlist=min(wanted.nlist, built.nlist))
    return replace(built, recall=wanted.recall, recall_queries=wanted.recall_queries) == wanted


def prune(ws: Workspace, collection: str, keep: int) -> list[str]:
    """Delete old versions, and return them.

    Kept are the newest ones, the live one, and the one that a rollback would return to. Servers that
    have a deleted one open keep it until they close it.
    """
    versions = list_versions(ws, collection)
    (previous,) = (ws.fetch("SELECT previous FROM aliases WHERE collection = ?", (collection,)) or [("",)])[0]
    kept = {version.version for version in [each for each in versions if each.state == READY][:keep]}
    kept |= {version.version for version in versions if version.live} | {previous}
    deleted = []
    for version in versions[keep:]:
        if version.version not in kept:
            with suppress(VersionNotFound, FailedPrecondition):  # another process was first, or promoted it
                delete_version(ws, collection, version.version)
                deleted.append(version.version)
    return deleted
