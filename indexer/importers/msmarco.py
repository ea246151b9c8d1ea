"""MS MARCO questions with their own passages, v1.1 and v2.1, in every layout that is in use."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from indexer.importers.json_stream import JsonStream, decoder, json_rows
from indexer.importers.lines import open_bytes, require_file
from indexer.importers.parquet import parquet_columns, parquet_rows
from indexer.importers.qrels import checked_query_text, split_of
from indexer.importers.scratch import Scratch
from indexer.importers.source import Record, Reject, Source, raw_start
from retrieval.errors import InvalidInput, InvalidItem, UnreadableSource
from retrieval.items import Item, validate_item
from retrieval.judgements import JudgedQuery

NEEDED = ("query_id", "query", "passages")
ID_DIGITS = 20  # 80 bits: a collision among 100 million passages has a chance of 1 in 200 million


class MsmarcoReader:
    """Reads rows of `query_id`, `query` and `passages`.

    A row's passages become items, whose id is made from their text (the same passage comes under many
    questions), and its query is judged: selected passages 1, the others 0. A query without a selected
    passage judges nothing, and only its passages are taken.
    """

    ids_are_content = True

    def __init__(self, source: Source) -> None:
        require_file(source.path)
        self._path = source.path
        self._split = split_of(source.path, source.split)
        self._parquet = _is_parquet(source.path)
        if self._parquet:
            missing = set(NEEDED) - set(parquet_columns(source.path))
            if missing:
                raise UnreadableSource(f"{source.path.name}: there is no column {min(missing)!r}")
        self._cells = _read_columns(source.path) if not self._parquet and _is_columns(source.path) else None

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield the passages of each row, then its query."""
        for number, row in self._rows(after):
            if isinstance(row, Reject):
                yield number, row
                continue
            try:
                query, items = _row(row, self._split, checked)
            except InvalidInput as error:
                yield number, Reject(str(error), raw_start(row))
                continue
            for item in items:
                yield number, item
            if any(grade > 0 for grade in query.grades.values()):
                yield number, query

    def _rows(self, after: int) -> Iterator[tuple[int, Any]]:
        if self._parquet:
            return parquet_rows(self._path, after, columns=NEEDED)
        if self._cells is not None:
            return _column_rows(self._cells, after)
        return json_rows(self._path, after)


def _row(row: Any, split: str, checked: bool) -> tuple[JudgedQuery, list[Item]]:
    if not isinstance(row, Mapping):
        raise InvalidItem(f"expected an object, got {type(row).__name__}")
    for name in NEEDED:
        if row.get(name) in (None, ""):
            raise InvalidItem(f"no {name!r}")
    if isinstance(row["query_id"], bool) or not isinstance(row["query_id"], str | int):
        raise InvalidItem("query_id: expected text or a whole number")
    query = checked_query_text(str(row["query_id"]), row["query"])
    items: list[Item] = []
    grades: dict[str, int] = {}
    for text, selected, url in _passages(row["passages"]):
        item = Item(id=passage_id(text), text=text, attributes={"url": url} if url else {})
        if not checked:
            validate_item(item)
        items.append(item)
        grades[item.id] = max(grades.get(item.id, 0), selected)
    return JudgedQuery(id=str(row["query_id"]), text=query, split=split, grades=grades), items


def passage_id(text: str) -> str:
    """Make the id of a passage that has none, from its text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_DIGITS]


def _passages(passages: Any) -> Iterator[tuple[str, int, str]]:
    """Yield text, grade and url, whether the passages are an object of lists or a list of objects."""
    try:
        if isinstance(passages, Mapping):
            texts, selected = passages["passage_text"], passages["is_selected"]
            urls = passages.get("url") or [""] * len(texts)
            rows = list(zip(texts, selected, urls, strict=True))
        else:
            rows = [(p["passage_text"], p["is_selected"], p.get("url") or "") for p in passages]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidItem("passages: expected equal lists of passage_text, is_selected and url") from error
    for text, chosen, url in rows:
        if not isinstance(text, str) or not isinstance(chosen, int) or not isinstance(url, str):
            raise InvalidItem("passages: expected texts, 0 or 1, and urls")
        yield text, int(chosen), url


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _is_columns(path: Path) -> bool:
    """Tell the original v2.1 layout, one object of columns: `{"query": {"0": …, "1": …}, …}`."""
    with open_bytes(path) as opened:
        stream = JsonStream(opened, path.name)
        if stream.peek() != "{":
            return False
        stream.take("{")
        if stream.peek() != '"':
            return False
        stream.value()
        if stream.peek() != ":":
            return False
        stream.take(":")
        if stream.peek() != "{":
            return False
        stream.take("{")
        if stream.peek() != '"':
            return False
        key = stream.value()
        return isinstance(key, str) and key.isdecimal()


def _read_columns(path: Path) -> Scratch:
    """Spread the columns over a table on disk, since each row is scattered over the whole file."""
    cells = Scratch("cells (name TEXT, row INTEGER, value TEXT, PRIMARY KEY (name, row))")
    with open_bytes(path) as opened:
        stream = JsonStream(opened, path.name)
        for name in stream.members():
            for key in stream.members():
                value = stream.value()
                if name in NEEDED and key.isdecimal():
                    text = json.dumps(value, ensure_ascii=True)
                    cells.connection.execute(
                        "INSERT OR REPLACE INTO cells VALUES (?, ?, ?)", (name, int(key), text)
                    )
    cells.flush()
    return cells


def _column_rows(cells: Scratch, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = cells.connection.execute(
        "SELECT i.row + 1, i.value, q.value, p.value FROM cells i"
        " LEFT JOIN cells q ON q.name = 'query' AND q.row = i.row"
        " LEFT JOIN cells p ON p.name = 'passages' AND p.row = i.row"
        " WHERE i.name = 'query_id' AND i.row >= ? ORDER BY i.row",
        (after,),
    )
    for number, *values in rows:
        yield number, dict(zip(NEEDED, (decoder.decode(value or "null") for value in values), strict=True))
