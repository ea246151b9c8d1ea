"""Opens index versions: verified first; where the live one has rotted, the one before."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from retrieval.errors import (
    CorruptArtifact,
    Exhausted,
    FailedPrecondition,
    Unavailable,
    UnusableWorkspace,
    VersionMoved,
)
from retrieval.index import Index
from retrieval.index_build import open_index_files
from retrieval.manifest import Manifest, read_verified
from retrieval.publishing import READY, list_versions, promote, quarantine, require_ready
from retrieval.workspace import Workspace


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """A version that was verified and can be searched."""

    index: Index
    manifest: Manifest
    version: str


def open_index(ws: Workspace, collection: str, version: str) -> OpenIndex:
    """Verify a version and open it.

    Raises:
        VersionNotFound: if there is no such version.
        FailedPrecondition: if it is quarantined.
        CorruptArtifact: if its files differ from its manifest, or from each other.
        NewerFormat: if a later version of the software wrote it.
        MissingExtra: if its backend is not installed.
    """
    require_ready(ws, collection, version)
    folder = ws.indexes / collection / version
    manifest = read_verified(folder)
    index = open_index_files(folder, manifest.parameters)
    if index.dims != manifest.dims and manifest.count:
        raise CorruptArtifact(f"the index is {index.dims} wide, its manifest says {manifest.dims}")
    return OpenIndex(index, manifest, version)


def open_live(ws: Workspace, collection: str) -> OpenIndex | None:
    """Open the live version; if its bytes rotted, quarantine it and serve the one before.

    "Before" is what was live before it, or else the newest version that is sound. On a workspace that
    cannot be written the answer is the same, only nothing is noted.

    Returns:
        None if the collection has no live version.

    Raises:
        CorruptArtifact: if no version is sound.
        NewerFormat: if a later version of the software wrote the live one.
        MissingExtra: if its backend is not installed.
    """
    aliases = ws.fetch("SELECT version, previous FROM aliases WHERE collection = ?", (collection,))
    if not aliases:
        return None
    live, previous = aliases[0]
    ready = [each.version for each in list_versions(ws, collection) if each.state == READY]
    fault = CorruptArtifact(f"collection {collection!r}: its live index version is quarantined")
    for version in dict.fromkeys([live, previous, *ready]):
        if version not in ready:
            continue
        try:
            opened = open_index(ws, collection, version)
        except CorruptArtifact as error:
            fault = error if version == live else fault
            _note(quarantine, ws, collection, version)
            continue
        except FailedPrecondition:
            if version == live:
                raise
            continue
        if version != live:
            # The next index shall have the windows of the one that is replaced, not of its stand-in.
            _note(partial(promote, follow_windows=False), ws, collection, version, live)
        return opened
    raise fault


def _note(write: Callable[..., None], *arguments: Any) -> None:
    """Write down what was found if that is possible: what is served does not depend on it."""
    with suppress(UnusableWorkspace, Unavailable, Exhausted, VersionMoved):
        write(*arguments)
