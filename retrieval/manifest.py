"""The manifest of an index version: what its folder holds, written last, verified first."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retrieval.durable import write_durably
from retrieval.errors import CorruptArtifact, InvalidInput, NewerFormat
from retrieval.exact_index import KEYS_FILE, load_keys
from retrieval.failpoints import failpoint
from retrieval.index_types import IndexParameters
from retrieval.workspace import now

MANIFEST_FILE = "manifest.json"
MANIFEST_FORMAT = 2  # 2: with window_s


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file must be."""

    sha256: str  # hex
    size: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an index version is."""

    collection: str
    fingerprint: str  # of the encoder that made the vectors
    model: str  # name@version of that encoder
    dims: int
    count: int  # vectors
    built_key: int  # the highest segment rowid that was considered; rows above it are fresh
    parameters: IndexParameters
    window_s: float = 0.0  # the length of the windows of sounds and videos that it holds; 0 = none
    fusion: Mapping[str, Any] = field(default_factory=dict)  # what `fusion.learn_fusion` learned
    metric: str = "cosine"
    statistics: Mapping[str, Any] = field(default_factory=dict)  # figures for people, such as build seconds
    created_at: str = field(default_factory=now)
    files: Mapping[str, FileRecord] = field(default_factory=dict)  # filled in by `write_manifest`

    def to_json(self) -> str:
        """Serialise."""
        return json.dumps(asdict(self) | {"format": MANIFEST_FORMAT}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read what `to_json` wrote.

        Raises:
            CorruptArtifact: if the text is no manifest.
            NewerFormat: if a later version of the software wrote it.
        """
        try:
            body = json.loads(text)
            if body.pop("format") > MANIFEST_FORMAT:
                raise NewerFormat("the index was written by a later Twinspire: upgrade")
            body["window_s"] = float(body.get("window_s", 0))
            body["parameters"] = IndexParameters.from_json(body["parameters"])
            body["files"] = {name: FileRecord(**record) for name, record in body["files"].items()}
            return cls(**body)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidInput) as error:
            raise CorruptArtifact(f"{MANIFEST_FILE} is not the manifest of an index") from error


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Make a folder a version: sync its files, then put the manifest there, all at once.

    Returns:
        The manifest, with the files of the folder.

    Raises:
        StorageFull: if the disk is full.
    """
    names = sorted(file.name for file in folder.iterdir() if file.name != MANIFEST_FILE)
    files = {name: _record(folder / name) for name in names}
    failpoint("manifest-files-synced")
    body = {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}
    complete = Manifest(**body | {"files": files})
    write_durably(folder / MANIFEST_FILE, complete.to_json().encode())
    return complete


def read_manifest(folder: Path) -> Manifest | None:
    """Read a folder's manifest; None if it has none, or only half of one: then it never became a version.

    Raises:
        NewerFormat: if a later version of the software wrote it.
    """
    try:
        return Manifest.from_json((folder / MANIFEST_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, CorruptArtifact):
        return None


def read_verified(folder: Path) -> Manifest:
    """Read a version's manifest and compare all its files with it.

    Raises:
        CorruptArtifact: if the manifest is missing, or a file differs.
        NewerFormat: if a later version of the software wrote it.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise CorruptArtifact(f"index version {folder.name} has no readable manifest")
    verify_files(folder, manifest)
    check_count(folder, manifest)
    return manifest


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest.

    Raises:
        CorruptArtifact: naming the first file that is missing or differs.
    """
    for name, expected in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
            got = _sha256(folder / name) if size == expected.size else ""
        except FileNotFoundError as error:
            raise CorruptArtifact(f"index {folder.name}: {name} is missing") from error
        if size != expected.size:
            raise CorruptArtifact(f"index {folder.name}: {name} has {size} bytes, expected {expected.size}")
        if got != expected.sha256:
            raise CorruptArtifact(
                f"index {folder.name}: {name} has sha256 {got[:12]}, expected {expected.sha256[:12]}"
            )


def check_count(folder: Path, manifest: Manifest) -> None:
    """Compare how many vectors a folder holds with the manifest.

    Raises:
        CorruptArtifact: if they differ.
    """
    count = len(load_keys(folder / KEYS_FILE))
    if count != manifest.count:
        raise CorruptArtifact(f"the index holds {count} vectors, its manifest says {manifest.count}")


def _record(file: Path) -> FileRecord:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    return FileRecord(sha256=_sha256(file), size=file.stat().st_size)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
