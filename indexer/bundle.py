"""Bundles: what an export makes and an import restores.

A bundle is a folder that is laid out like a workspace, with `bundle.json` beside it: the sha256 of every
file, and for each collection a search with the hits that it must give. It is written last.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from indexer.progress import OnProgress, Progress, ignore_progress
from retrieval.errors import CorruptArtifact, NewerFormat, NotFound
from retrieval.manifest import FileRecord
from retrieval.workspace import BUNDLE_FILE, DATABASE_FILE, now

BUNDLE_FORMAT = 1
FOLDERS = ("models", "indexes")


class BundleNotFound(NotFound):
    """There is no bundle where one was named."""

    reason = "BUNDLE_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Probe:
    """A search that can be done again wherever the bundle is opened."""

    item: str  # the id of the item that is looked for
    words: int  # so many of its first words are encoded; 0 = its stored vector is the query
    hits: tuple[tuple[str, float], ...]  # id and cosine of what was found, best first


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledCollection:
    """A collection in a bundle."""

    items: int
    live_version: str = ""  # empty = none is live
    model: str = ""  # name@version of the live encoder
    probe: Probe | None = None  # None = nothing is live, or it is empty


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleManifest:
    """What a bundle holds."""

    files: Mapping[str, FileRecord]  # by path inside the bundle, parted by /
    collections: Mapping[str, BundledCollection]
    left_out: Mapping[str, str] = field(default_factory=dict)  # what is not in it -> why
    software: str = ""  # the version that made it
    created_at: str = field(default_factory=now)

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(record.size for record in self.files.values())

    def to_json(self) -> str:
        """Serialise, with a digest of everything that is told."""
        body = asdict(self) | {"format": BUNDLE_FORMAT}
        return json.dumps(body | {"sha256": _digest(body)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "BundleManifest":
        """Read what `to_json` wrote.

        Raises:
            CorruptArtifact: if it was changed, or is something else.
            NewerFormat: if a later version of the software wrote it.
        """
        try:
            body = json.loads(text)
            expected, format = body.pop("sha256"), body["format"]
            if expected != _digest(body):
                raise CorruptArtifact(f"{BUNDLE_FILE} differs from its own digest: take another bundle")
            if format > BUNDLE_FORMAT:
                raise NewerFormat("the bundle was written by a later Twinspire: upgrade")
            del body["format"]
            body["files"] = {_checked(name): FileRecord(**record) for name, record in body["files"].items()}
            body["collections"] = {name: _collection(record) for name, record in body["collections"].items()}
            return cls(**body)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorruptArtifact(f"{BUNDLE_FILE} is not the manifest of a bundle") from error


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _collection(record: dict[str, Any]) -> BundledCollection:
    probe = record.pop("probe")
    if probe is not None:
        hits = tuple((str(id), float(score)) for id, score in probe["hits"])
        probe = Probe(str(probe["item"]), int(probe["words"]), hits)
    return BundledCollection(**record, probe=probe)


def _checked(name: str) -> str:
    """Refuse a name that would lead out of the bundle, or to what no bundle holds.

    >>> _checked("models/tower/1/card.json")
    'models/tower/1/card.json'

    Raises:
        CorruptArtifact: if it does.
    """
    parts = PurePosixPath(name).parts
    plain = "/".join(parts) == name and not {"..", ".", "/"} & set(parts)
    if name == DATABASE_FILE or (plain and len(parts) > 1 and parts[0] in FOLDERS):
        return name
    raise CorruptArtifact(f"{BUNDLE_FILE} names a file that no bundle holds: {name[:80]!r}")


def read_bundle(bundle: Path) -> BundleManifest:
    """Read what a bundle says about itself.

    Raises:
        BundleNotFound: if there is none.
        CorruptArtifact: if its manifest is damaged.
        NewerFormat: if a later version of the software wrote it.
    """
    try:
        return BundleManifest.from_json((bundle / BUNDLE_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleNotFound(
            f"{bundle.name!r} is no bundle, it has no {BUNDLE_FILE}: `twinspire export` makes one"
        ) from error
    except UnicodeDecodeError as error:
        raise CorruptArtifact(f"{BUNDLE_FILE} is not the manifest of a bundle") from error


def verify_bundle(bundle: Path, manifest: BundleManifest, on_progress: OnProgress = ignore_progress) -> None:
    """Compare every file with the manifest, all sizes before the first content.

    Raises:
        CorruptArtifact: naming the first file that is missing, differs, or is a link.
    """
    for name, expected in manifest.files.items():
        size = _size(bundle, name)
        if size != expected.size:
            raise CorruptArtifact(f"bundle: {name} has {size} bytes, expected {expected.size}")
    done = 0
    for name, expected in manifest.files.items():
        got = sha256(bundle / name)
        if got != expected.sha256:
            raise CorruptArtifact(f"bundle: {name} has sha256 {got[:12]}, expected {expected.sha256[:12]}")
        done += expected.size
        on_progress(Progress("verify", done, manifest.size))


def _size(bundle: Path, name: str) -> int:
    file = bundle / name
    inside = [file, *(bundle / parent for parent in PurePosixPath(name).parents if parent.name)]
    if any(part.is_symlink() for part in inside):
        raise CorruptArtifact(f"bundle: {name} is a symbolic link")
    if not file.is_file():
        raise CorruptArtifact(f"bundle: {name} is missing")
    return file.stat().st_size


def sha256(file: Path) -> str:
    """Digest a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
