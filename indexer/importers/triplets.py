"""Training triplets of the two-tower document search: a query with a right and a wrong passage."""

from collections.abc import Iterator
from typing import Any

from indexer.importers.json_stream import json_rows
from indexer.importers.lines import require_file
from indexer.importers.parquet import parquet_rows
from indexer.importers.qrels import checked_query_text, split_of
from indexer.importers.scratch import Judgements
from indexer.importers.source import Record, Reject, Source, raw_start
from retrieval.errors import InvalidInput
from retrieval.items import Item, validate_item

FIELDS = (
    "query_id",
    "query_text",
    "pos_passage_id",
    "pos_passage_text",
    "neg_passage_id",
    "neg_passage_text",
)


class TripletsReader:
    """Reads both passages of a row as items; all rows of one query become one judged query, at the end."""

    # A passage comes again in many rows by design.
    ids_are_content = True

    def __init__(self, source: Source) -> None:
        require_file(source.path)
        self._path = source.path
        self._split = split_of(source.path, source.split)
        with source.path.open("rb") as file:
            self._rows = parquet_rows if file.read(4) == b"PAR1" else json_rows
        self._complete: Judgements | None = None

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield items row by row, then the judged queries."""
        number = 0
        judgements = self._complete or Judgements()
        for number, row in self._rows(self._path):
            if number <= after and self._complete:
                continue
            try:
                items = _note(row, judgements, self._split)
            except InvalidInput as error:
                items = [Reject(str(error), raw_start(row))]
            if number > after:
                for item in items:
                    yield number, item
        self._complete = judgements  # to note everything again changes nothing
        for record in judgements.records():
            number += 1
            if number > after:
                yield number, record


def _note(row: Any, judgements: Judgements, split: str) -> list[Item | Reject]:
    if isinstance(row, Reject):
        return [row]
    if not isinstance(row, dict):
        return [Reject(f"expected an object, got {type(row).__name__}", raw_start(row))]
    fields: list[str] = []
    for name in FIELDS:
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            return [Reject(f"no {name!r}, or no text", raw_start(row))]
        fields.append(str(value))
    query, query_text, *passages = fields
    items = [Item(id=passages[0], text=passages[1]), Item(id=passages[2], text=passages[3])]
    for item in items:
        validate_item(item)
    checked_query_text(query, query_text)
    judgements.add_query(query, query_text)
    judgements.add_grade(query, items[0].id, 1, split)
    judgements.add_grade(query, items[1].id, 0, split)
    return list(items)
