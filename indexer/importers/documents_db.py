"""The `documents.db` of the two-tower document search: one table with known columns."""

import json
from collections.abc import Iterator
from dataclasses import replace

from indexer.importers.source import Record, Source
from indexer.importers.sqlite import SqliteReader
from retrieval.errors import InvalidInput
from retrieval.items import Item, validate_item


class DocumentsDbReader:
    """Reads `documents(doc_id, doc_text, source, doc_length, created_at, metadata)`."""

    ids_are_content = False

    def __init__(self, source: Source) -> None:
        preset = replace(
            source,
            table=source.table or "documents",
            id=source.id or "doc_id",
            text=source.text or ("doc_text",),
        )
        self._rows = SqliteReader(preset)

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield an item per document; metadata that is a flat JSON object becomes attributes."""
        for number, record in self._rows.records(after, checked=checked):
            yield number, _with_metadata(record) if isinstance(record, Item) else record


def _with_metadata(item: Item) -> Item:
    text = item.attributes.get("metadata")
    if not isinstance(text, str):
        return item
    try:
        metadata = json.loads(text)
        if not isinstance(metadata, dict):
            return item
        others = {name: value for name, value in item.attributes.items() if name != "metadata"}
        spread = replace(item, attributes=metadata | others)
        validate_item(spread)
    except (ValueError, RecursionError, InvalidInput):
        return item  # it stays what it is: a text
    return spread
