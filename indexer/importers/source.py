"""What an importer is given, and what it yields."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from retrieval.items import Item
from retrieval.judgements import JudgedQuery

RAW_START_CHARACTERS = 200  # of a bad row, kept in the rejects file


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file or folder to import, and how to read it.

    Columns left empty take the kind's own defaults: `id` or `_id`, `text`, and every other column as an
    attribute. Several text columns are joined by a space.
    """

    kind: str  # a key of `indexer.importers.kinds.READERS`
    path: Path
    id: str = ""
    text: tuple[str, ...] = ()
    attributes: tuple[str, ...] | None = None  # None = all the other columns
    table: str = ""  # sqlite only; empty = the only table
    queries: Path | None = None  # trec only: the file of query texts
    split: str = ""  # of the judged queries, where the source does not say; empty = assigned by hash


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be imported."""

    reason: str
    raw: str  # the beginning of the row as it stands in the source


Record: TypeAlias = tuple[int, Item | JudgedQuery | Reject]
"""The number of the row or line, from 1 and ascending, and what it holds. A row may give several records."""


class Reader(Protocol):
    """An open source. It can be read again and again, and holds no more than a few rows in memory."""

    @property
    def ids_are_content(self) -> bool:
        """Whether ids are made from the content, so that a repeated id is no fault of the source."""
        ...

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield what the rows numbered above `after` hold, in the source's order.

        Args:
            after: the number of a row; 0 = from the beginning.
            checked: an earlier reading found no bad row, so items need not be validated again.

        Raises:
            UnreadableSource: if the source is broken in a way that no row can be blamed for.
        """
        ...


def raw_start(row: Any) -> str:
    """Cut a bad row for the rejects file."""
    if isinstance(row, bytes):
        return row[: 4 * RAW_START_CHARACTERS].decode("utf-8", "replace")[:RAW_START_CHARACTERS]
    text = row if isinstance(row, str) else json.dumps(row, default=repr, ensure_ascii=False)
    return text[:RAW_START_CHARACTERS].encode("utf-8", "replace").decode()
