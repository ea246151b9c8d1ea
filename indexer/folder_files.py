"""From files of a folder to items: hashed, looked at in decoding processes, described by attributes.

What is known of a file from an earlier import is in its item's attributes: a file of the same size and
time is not opened again, one of the same hash not decoded.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from encoders.media.decoding import Decoder
from encoders.media.facts import MediaFacts
from encoders.media.limits import DEFAULT_LIMITS
from encoders.media.pool import usual_children
from encoders.media.source import open_file
from indexer.importers.folder import FoundFile
from indexer.importers.metadata import FileMetadata
from retrieval.content import Modality
from retrieval.errors import InvalidInput, InvalidItem, MediaTooLarge, MediaUnreadable, TwinspireError
from retrieval.items import MAX_TEXT_BYTES, Item, StoredItem, validate_item

THUMBNAILS = "thumbnails"  # the folder within the workspace
# Attributes that are told from the file's content.
FACTS = ("duration_s", "width", "height", "sample_rate", "channels")
DURATION_DIGITS = 3
# Of any file; what each kind may have is seen when it is opened.
LARGEST_BYTES = DEFAULT_LIMITS.max_video_bytes


@dataclass(slots=True)
class FileReading:
    """A file on its way to an item."""

    file: FoundFile
    id: str
    uri: str
    metadata: FileMetadata
    known: Mapping[str, Any] = field(default_factory=dict)  # its attributes after an earlier import
    modality: Modality = Modality.TEXT
    text: str = ""
    sha256: str = ""
    facts: dict[str, Any] | None = None  # attributes told from the content; None: not looked at yet
    thumbnail: str = ""
    decoded: bool = False  # whether it was opened in a decoding process
    error: InvalidInput | None = None

    def item(self) -> Item | InvalidInput:
        """Make the item, or say why there is none."""
        if self.error is not None:
            return self.error
        attributes = dict(self.metadata.attributes)
        attributes |= {"sha256": self.sha256, "bytes": self.file.size, "modified": _modified(self.file)}
        attributes |= self.facts or {}
        if self.file.folder:
            attributes["folder"] = self.file.folder
        if self.thumbnail:
            attributes["thumbnail"] = self.thumbnail
        content_hash = "" if self.modality == Modality.TEXT else self.sha256
        item = Item(self.id, self.modality, self.text, self.uri, attributes, content_hash)
        try:
            validate_item(item)
        except InvalidInput as error:
            return error
        return item


def read_files(readings: Sequence[FileReading], decoder: Decoder, *, workspace: Path | None = None) -> None:
    """Read files, as many at a time as a decoder usually has processes.

    Args:
        readings: what is to be read, and where what is found is put.
        decoder: looks at media files.
        workspace: the folder to write thumbnails into; None = make none.

    Raises:
        MissingExtra: if the library for a file's format is not installed.
    """
    with ThreadPoolExecutor(usual_children(), "read") as threads:
        list(threads.map(_read, readings))
    new = [reading for reading in readings if reading.error is None and reading.facts is None]
    for reading, facts in zip(new, decoder.all_facts([reading.file.path for reading in new]), strict=True):
        _note(reading, facts)
    if workspace is not None:
        _add_thumbnails(
            [reading for reading in readings if "width" in (reading.facts or {})], decoder, workspace
        )


def known_attributes(stored: StoredItem | None) -> Mapping[str, Any]:
    """Return what an earlier import found out about a media file."""
    if stored is None or stored.modality == Modality.TEXT or "sha256" not in stored.attributes:
        return {}
    return {**stored.attributes, "modality": stored.modality}


def _read(reading: FileReading) -> None:
    """Hash a file, or read it if it is a text. What is known of its content is taken from before."""
    file, known = reading.file, reading.known
    try:
        if file.is_text:
            _read_text(reading)
            return
        if file.size > LARGEST_BYTES:  # or it would be hashed for nothing
            raise MediaTooLarge(f"media: expected at most {LARGEST_BYTES} bytes, got {file.size}")
        reading.text = reading.metadata.text
        same = (known.get("bytes"), known.get("modified")) == (file.size, _modified(file))
        reading.sha256 = known["sha256"] if same else _hash(file.path)
    except OSError:
        reading.error = MediaUnreadable("media: the file is not there, or may not be read")
    except InvalidInput as error:
        reading.error = error
    else:
        if reading.sha256 == known.get("sha256"):
            reading.modality = known["modality"]
            reading.facts = {name: known[name] for name in FACTS if name in known}


def _read_text(reading: FileReading) -> None:
    size = reading.file.size
    if size > MAX_TEXT_BYTES:
        raise InvalidItem(f"text: expected at most {MAX_TEXT_BYTES} bytes, got {size}", field="text")
    content = reading.file.path.read_bytes()
    try:
        reading.text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidItem("text: expected UTF-8", field="text") from None
    reading.sha256 = hashlib.sha256(content).hexdigest()
    reading.facts = {}


def _note(reading: FileReading, facts: MediaFacts | TwinspireError) -> None:
    """Take down what was found in a media file."""
    reading.decoded = True
    if isinstance(facts, InvalidInput):
        reading.error = facts
        return
    if isinstance(facts, TwinspireError):  # a library is missing: no file's fault
        raise facts
    reading.modality = Modality(facts.modality)
    values = {name: getattr(facts, name) for name in FACTS}
    if facts.duration_s is not None:
        values["duration_s"] = round(facts.duration_s, DURATION_DIGITS)
    reading.facts = {name: value for name, value in values.items() if value is not None}


def _add_thumbnails(readings: Sequence[FileReading], decoder: Decoder, workspace: Path) -> None:
    """Write the thumbnails that are not there yet. A file of which none can be made goes without."""
    for reading in readings:
        reading.thumbnail = f"{THUMBNAILS}/{reading.sha256[:2]}/{reading.sha256}.webp"
    missing = [reading for reading in readings if not (workspace / reading.thumbnail).exists()]
    made = decoder.thumbnails([reading.file.path for reading in missing])
    for reading, thumbnail in zip(missing, made, strict=True):
        if isinstance(thumbnail, bytes):
            _write(workspace / reading.thumbnail, thumbnail)
        else:
            reading.thumbnail = ""


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_suffix(f".{os.getpid()}.part")
    staged.write_bytes(content)
    staged.replace(file)


def _hash(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _modified(file: FoundFile) -> str:
    """Write a file's time to the microsecond, so that it can be filtered by."""
    seconds, rest_ns = divmod(file.modified_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
