"""Importing a folder of media files and texts. What cannot be read is set aside, and stops nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from encoders.media.decoding import Decoder
from indexer.folder_files import FileReading, known_attributes, read_files
from indexer.importers.folder import METADATA_FILE, FoundFile, list_folder
from indexer.importers.metadata import NOTHING, FileMetadata, Metadata
from indexer.progress import OnProgress, Progress, ignore_progress
from indexer.survey import SHOWN_REJECTS
from indexer.threads import ahead
from retrieval.chunking import Chunking
from retrieval.collections import create_collection
from retrieval.dead_letters import DeadLetter, clear_file_letters, put_dead_letters
from retrieval.errors import InvalidInput, UnreadableSource
from retrieval.failpoints import failpoint
from retrieval.items import MAX_ID_BYTES, Item, get_items, upsert_items
from retrieval.media_roots import SCHEME, add_media_root, media_roots, uri_of
from retrieval.workspace import Workspace

BATCH_FILES = 128


class WantedFile(NamedTuple):
    """A file to import, and what is told about it."""

    file: FoundFile
    id: str
    uri: str
    metadata: FileMetadata


@dataclass(slots=True, kw_only=True)
class FolderReport:
    """What the import of a folder did."""

    root: str  # the name that uris have for the folder
    files: int = 0  # that were to be imported
    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0
    rejected: int = 0  # files that cannot be read, or not be items; they are in the dead letters
    duplicates: int = 0  # files whose id another file has: the last one won
    decoded: int = 0  # files that had to be looked at in a decoding process
    changed: bool = False  # whether anything in the collection is now different
    modalities: dict[str, int] = field(default_factory=dict)  # items by modality
    skipped: dict[str, int] = field(default_factory=dict)  # files that were not to be imported, by why
    rows_without_file: int = 0  # of the metadata
    bad_rows: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)  # the first bad files and rows, and why


def import_folder(
    ws: Workspace,
    collection: str,
    folder: Path,
    *,
    metadata: Path | None = None,
    root_name: str = "",
    thumbnails: bool = False,
    chunking: Chunking | None = None,
    decoder: Decoder | None = None,
    on_progress: OnProgress = ignore_progress,
) -> FolderReport:
    """Import all media files and texts of a folder.

    An import that was interrupted is completed by the next one; one that is repeated changes nothing, and
    decodes only what could not be read before. The folder must stay where it is: items are read from it
    whenever they are encoded.

    Args:
        ws: the workspace.
        collection: created if there is none.
        folder: with sub-folders; it becomes a root for media uris.
        metadata: a CSV file about the files; None = `metadata.csv` in the folder, if it is there.
        root_name: of the folder in uris; empty = the folder's own name.
        thumbnails: write small pictures into the workspace, named by the attribute `thumbnail`.
        chunking: cut longer texts into segments; None leaves that to the encoder's limit.
        decoder: looks at the files; None = one with a process for each processor.
        on_progress: told of the stage "import", in files.

    Raises:
        UnreadableSource: if the folder or the metadata is missing or broken; nothing was written.
        InvalidInput: if the root's name is taken by another folder; nothing was written.
        MissingExtra: if the library for a file's format is not installed.
    """
    listing = list_folder(folder, without=metadata or folder / METADATA_FILE)
    if metadata is None and (folder / METADATA_FILE).is_file():
        metadata = folder / METADATA_FILE
    told = Metadata(metadata) if metadata else None
    if not listing.files:
        raise UnreadableSource(f"{folder.name}: the folder holds no media files and no texts")
    root = _root(ws, folder, root_name)
    create_collection(ws, collection)
    report = FolderReport(root=root, files=len(listing.files), skipped=dict(listing.skipped))
    wanted = _wanted(listing.files, root, told, report)
    job = _FolderJob(ws, collection, report, chunking, ws.root if thumbnails else None)
    if decoder is not None:
        job.run(wanted, decoder, on_progress)
        return report
    with Decoder() as own:
        job.run(wanted, own, on_progress)
    return report


def _root(ws: Workspace, folder: Path, name: str) -> str:
    """Make the folder a root of uris, under a name that means no other folder."""
    name = name or folder.resolve().name or "root"
    other = media_roots(ws).get(name)
    if other is not None and other != folder.resolve() and other.is_dir():
        raise InvalidInput(f"root name: {name!r} is another folder already: choose another", field="name")
    add_media_root(ws, name, folder)
    return name


def _wanted(
    files: Sequence[FoundFile], root: str, told: Metadata | None, report: FolderReport
) -> list[WantedFile]:
    """Join files with their metadata. Of those with one id, the last one is kept."""
    by_id: dict[str, WantedFile] = {}
    for file in files:
        metadata = told.of(file.relative) if told else NOTHING
        id = metadata.id or file.relative
        report.duplicates += by_id.pop(id, None) is not None
        by_id[id] = WantedFile(file, id, _uri(root, file), metadata)
    if told:
        report.rows_without_file, report.bad_rows = told.unused, len(told.bad_rows)
        report.examples += [
            (f"row {number} of the metadata", row.reason) for number, row in told.bad_rows[:SHOWN_REJECTS]
        ]
    return list(by_id.values())


def _uri(root: str, file: FoundFile) -> str:
    """Name a file; one whose name is no valid text gets a uri that only people can read."""
    try:
        return uri_of(root, Path(file.relative))
    except UnicodeEncodeError:
        return f"{SCHEME}{root}/{_readable(file.relative)}"


def _readable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


class _FolderJob:
    """One import on its way."""

    def __init__(
        self,
        ws: Workspace,
        collection: str,
        report: FolderReport,
        chunking: Chunking | None,
        thumbnails: Path | None,
    ) -> None:
        self._ws, self._collection, self._report = ws, collection, report
        self._chunking, self._thumbnails = chunking, thumbnails

    def run(self, wanted: Sequence[WantedFile], decoder: Decoder, on_progress: OnProgress) -> None:
        """Read a batch of files while the one before is written."""
        done = 0
        with ahead(self._read(wanted, decoder)) as batches:
            for batch in batches:
                self._write(batch)
                done += len(batch)
                on_progress(Progress("import", done, len(wanted)))

    def _read(self, wanted: Sequence[WantedFile], decoder: Decoder) -> Iterator[Sequence[FileReading]]:
        for start in range(0, len(wanted), BATCH_FILES):
            batch = wanted[start : start + BATCH_FILES]
            ids = [file.id for file in batch if _can_be_id(file.id)]
            stored = {item.id: item for item in get_items(self._ws, self._collection, ids)}
            readings = [FileReading(*file, known=known_attributes(stored.get(file.id))) for file in batch]
            read_files(readings, decoder, workspace=self._thumbnails)
            yield readings

    def _write(self, batch: Sequence[FileReading]) -> None:
        """Store a batch and its dead letters, in one transaction."""
        outcomes = [(reading, reading.item()) for reading in batch]
        items = [outcome for _, outcome in outcomes if isinstance(outcome, Item)]
        bad = [(reading, outcome) for reading, outcome in outcomes if isinstance(outcome, InvalidInput)]
        report = self._report
        with self._ws.atomic() as db:
            before = db.conn.total_changes
            done = upsert_items(self._ws, self._collection, items, chunking=self._chunking)
            report.changed |= db.conn.total_changes > before
            clear_file_letters(self._ws, self._collection, [item.uri for item in items])
            letters = [DeadLetter(reading.uri, error.reason, str(error)) for reading, error in bad]
            put_dead_letters(self._ws, self._collection, letters)
            failpoint("import-batch-not-committed")
        failpoint("import-batch-committed")
        report.inserted += done.inserted
        report.replaced += done.replaced
        report.unchanged += done.unchanged
        report.rejected += len(bad)
        report.decoded += sum(reading.decoded for reading in batch)
        seen = Counter(item.modality.value for item in items)
        report.modalities = dict(Counter(report.modalities) + seen)
        for reading, error in bad[: max(0, SHOWN_REJECTS - len(report.examples))]:
            report.examples.append((_readable(reading.file.relative), str(error)))


def _can_be_id(id: str) -> bool:
    return 1 <= len(id.encode("utf-8", "replace")) <= MAX_ID_BYTES and _readable(id) == id and "\0" not in id
