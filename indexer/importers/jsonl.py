"""JSON lines (or one JSON array), one item a row."""

from collections.abc import Iterator
from typing import Any

from indexer.importers.columns import Columns
from indexer.importers.json_stream import json_rows
from indexer.importers.lines import require_file
from indexer.importers.source import Record, Reject, Source, raw_start
from retrieval.errors import InvalidInput
from retrieval.items import Item


class JsonlReader:
    """Reads `{"id": …, "text": …, …}` rows; an object under `attributes` holds attributes itself."""

    ids_are_content = False

    def __init__(self, source: Source) -> None:
        require_file(source.path)
        self._source = source
        self._columns = Columns(source)

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield an item per row."""
        for number, row in json_rows(self._source.path, after):
            yield number, row_item(self._columns, row, checked)


def row_item(columns: Columns, row: Any, checked: bool) -> Item | Reject:
    """Make an item of a parsed row, or say why it cannot be one."""
    if isinstance(row, Reject):
        return row
    if not isinstance(row, dict):
        return Reject(f"expected an object, got {type(row).__name__}", raw_start(row))
    try:
        return columns.item(row, checked=checked)
    except InvalidInput as error:
        return Reject(str(error), raw_start(row))
