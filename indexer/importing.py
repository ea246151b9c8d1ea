"""Importing a source into a collection: checked first, then written batch by batch, resumably."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from indexer.importers.kinds import open_source
from indexer.importers.source import Reader, Record, Reject, Source
from indexer.progress import OnProgress, Progress, ignore_progress
from indexer.survey import RejectedRow, Survey, survey
from indexer.threads import ahead
from retrieval.chunking import Chunking
from retrieval.collections import collection_rowid, create_collection
from retrieval.failpoints import failpoint
from retrieval.items import Item, upsert_items
from retrieval.jobs import Job, start_job
from retrieval.judgements import JudgedQuery, assign_splits, put_judged_queries
from retrieval.workspace import Workspace

JOB_KIND = "import"
BATCH_RECORDS = 8000
BATCH_CHARACTERS = 16 << 20  # a batch is held in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did. Counts are of items, except where they say rows."""

    rows: int
    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0
    rejected: int = 0  # rows that cannot be imported
    duplicates: int = 0  # rows whose id comes again later in the source: the last one won
    queries: int = 0  # judged queries
    changed: bool = False  # whether anything in the collection is now different
    resumed: bool = False  # whether an interrupted import was completed
    examples: tuple[RejectedRow, ...] = field(default=())  # the first bad rows
    rejects_file: Path | None = None  # all bad rows; None if there are none


def import_source(
    ws: Workspace,
    collection: str,
    source: Source,
    *,
    chunking: Chunking | None = None,
    on_progress: OnProgress = ignore_progress,
    rejects: Path | None = None,
) -> ImportReport:
    """Import all good rows of a source.

    The source is read twice: once to find what is wrong with it, before anything is written, and once to
    write it. Memory does not grow with the source. An import that was interrupted goes on after the last
    batch that it committed; one that is repeated changes nothing.

    Args:
        ws: the workspace.
        collection: created if there is none.
        source: what to read, and how.
        chunking: cut longer texts into segments; None leaves that to the encoder's limit.
        on_progress: told of the stages "check" and "import", in rows.
        rejects: the file that bad rows are written to.

    Raises:
        UnreadableSource: if the source is missing, broken, or holds no good row; nothing was written.
        InvalidInput: if a column or table that was named does not exist; nothing was written.
        MissingExtra: if reading the source needs a package that is not installed.
    """
    reader = open_source(source)
    found = survey(reader, rejects, on_progress)
    create_collection(ws, collection)
    job = start_job(ws, JOB_KIND, collection, _spec(ws, collection, source, chunking))
    report = ImportReport(
        rows=found.rows,
        rejected=found.rejected,
        duplicates=found.duplicates,
        resumed=job.resumed,
        examples=found.examples,
        rejects_file=rejects if found.rejected else None,
    )
    return replace(report, **_write(ws, job, reader, found, chunking, on_progress))


def _write(
    ws: Workspace,
    job: Job,
    reader: Reader,
    found: Survey,
    chunking: Chunking | None,
    on_progress: OnProgress,
) -> dict[str, Any]:
    counts = dict.fromkeys(("inserted", "replaced", "unchanged", "queries", "changed"), 0) | job.counts
    position = int(job.position or 0)
    with ahead(_batches(reader.records(after=position, checked=not found.rejected))) as batches:
        for batch in batches:
            position = batch[-1][0]
            items = _winners(batch, found)
            queries = [record for _, record in batch if isinstance(record, JudgedQuery)]
            with ws.atomic() as db:
                before = db.conn.total_changes
                done = upsert_items(ws, job.collection, items, chunking=chunking)
                put_judged_queries(ws, job.collection, queries)
                counts["inserted"] += done.inserted
                counts["replaced"] += done.replaced
                counts["unchanged"] += done.unchanged
                counts["queries"] += len(queries)
                counts["changed"] |= db.conn.total_changes > before
                job.advance(position, counts)
                failpoint("import-batch-not-committed")
            failpoint("import-batch-committed")
            on_progress(Progress("import", position, found.rows))
    with ws.atomic():
        if counts["queries"]:
            assign_splits(ws, job.collection)
        job.finish()
    return counts | {"changed": bool(counts["changed"])}


def _winners(batch: Sequence[Record], found: Survey) -> list[Item]:
    """Leave out the items whose id comes again in a later row, so that a repeated import sees no change."""
    items = [(number, record) for number, record in batch if isinstance(record, Item)]
    if not found.repeats:
        return [item for _, item in items]
    last = found.seen.last_rows(item.id for _, item in items)
    return [item for number, item in items if last.get(item.id, number) == number]


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Group records, never parting those of one row."""
    batch: list[Record] = []
    characters = 0
    for number, record in records:
        full = len(batch) >= BATCH_RECORDS or characters >= BATCH_CHARACTERS
        if full and batch[-1][0] != number:
            yield batch
            batch, characters = [], 0
        batch.append((number, record))
        if not isinstance(record, Reject):
            characters += len(record.text)
    if batch:
        yield batch


def _spec(ws: Workspace, collection: str, source: Source, chunking: Chunking | None) -> dict[str, Any]:
    """Describe the job: changed files, or another collection of the name, make it another job."""
    files = sorted(source.path.rglob("*")) if source.path.is_dir() else [source.path]
    stamps = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]
    options = {
        name: str(value) if isinstance(value, Path) else value for name, value in asdict(source).items()
    }
    options["path"] = str(source.path.resolve())
    return options | {
        "collection": collection_rowid(ws, collection),
        "files": stamps,
        "chunking": asdict(chunking) if chunking else None,
    }
