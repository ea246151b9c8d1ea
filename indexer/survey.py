"""The first reading of a source: what is bad in it and what comes twice, before anything is written."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from indexer.importers.scratch import SeenIds
from indexer.importers.source import Reader, Reject
from indexer.progress import OnProgress, Progress
from retrieval.errors import UnreadableSource
from retrieval.items import Item
from retrieval.workspace import translate_sqlite_errors

SHOWN_REJECTS = 5
PROGRESS_EVERY_S = 0.1
CHECK_CLOCK_ROWS = 500


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A bad row, for people to look at."""

    number: int
    reason: str
    raw: str


@dataclass(slots=True)
class Survey:
    """What a source holds."""

    seen: SeenIds
    rows: int = 0  # the number of the last one
    items: int = 0
    queries: int = 0
    rejected: int = 0
    duplicates: int = 0  # rows whose id comes again later: the last one wins
    repeats: int = 0  # as duplicates, also where ids are made from content
    examples: tuple[RejectedRow, ...] = ()


def survey(reader: Reader, rejects: Path | None, on_progress: OnProgress) -> Survey:
    """Read a whole source once, writing its bad rows to the rejects file.

    Raises:
        UnreadableSource: if the source is broken, or holds no good row at all.
    """
    seen = SeenIds()
    with _rejects_file(rejects) as file:
        found = Survey(seen)
        clock = _Clock(on_progress)
        for number, record in reader.records():
            found.rows = number
            if isinstance(record, Item):
                found.items += 1
                seen.note(record.id, number)
            elif isinstance(record, Reject):
                _note_reject(found, file, RejectedRow(number, record.reason, record.raw))
            else:
                found.queries += 1
            clock.tick(number)
        found.repeats = seen.duplicates()
        found.duplicates = 0 if reader.ids_are_content else found.repeats
    if not found.items and not found.queries:
        raise UnreadableSource(_nothing_good(found))
    on_progress(Progress("check", found.rows, found.rows))
    return found


def _nothing_good(found: Survey) -> str:
    if not found.examples:
        return "the source holds no rows"
    first = found.examples[0]
    return f"none of {found.rejected} rows can be imported; row {first.number}: {first.reason}"


def _note_reject(found: Survey, file: IO[str] | None, row: RejectedRow) -> None:
    found.rejected += 1
    if len(found.examples) < SHOWN_REJECTS:
        found.examples = (*found.examples, row)
    if file is not None:
        line = {"row": row.number, "reason": row.reason, "raw": row.raw}
        file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n")


@contextmanager
def _rejects_file(path: Path | None) -> Iterator[IO[str] | None]:
    """Open the file of bad rows; it is removed again when there are none."""
    if path is None:
        yield None
        return
    with translate_sqlite_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    try:
        yield file
    finally:
        file.close()
        if path.stat().st_size == 0:
            os.unlink(path)


class _Clock:
    """Tells progress a few times a second, without asking the time for every row."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._told_at = time.monotonic()
        self._rows = 0

    def tick(self, number: int) -> None:
        self._rows += 1
        if self._rows % CHECK_CLOCK_ROWS == 0 and time.monotonic() - self._told_at > PROGRESS_EVERY_S:
            self._told_at = time.monotonic()
            self._on_progress(Progress("check", number, 0))
