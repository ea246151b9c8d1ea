"""BEIR folders: `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from indexer.importers.columns import plain
from indexer.importers.json_stream import json_rows
from indexer.importers.qrels import read_grades, read_queries, split_of
from indexer.importers.scratch import Judgements
from indexer.importers.source import Record, Reject, Source, raw_start
from retrieval.errors import InvalidInput, UnreadableSource
from retrieval.items import Item, validate_item


class BeirReader:
    """Reads items from the corpus (title and text joined, the title kept as an attribute), then queries."""

    ids_are_content = False

    def __init__(self, source: Source) -> None:
        self._source = source
        if not source.path.is_dir():
            raise UnreadableSource(f"{source.path.name}: expected a folder with corpus.jsonl")
        corpus = _file(source.path, "corpus")
        if corpus is None:
            raise UnreadableSource(f"{source.path.name}: there is no corpus.jsonl in it")
        self._corpus = corpus
        self._queries = _file(source.path, "queries")
        self._qrels = sorted((source.path / "qrels").glob("*.tsv*"))
        if self._qrels and self._queries is None:
            raise UnreadableSource(f"{source.path.name}: there are qrels, but no queries.jsonl")

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield items numbered by line, then queries numbered on from there."""
        number = 0
        for number, row in json_rows(self._corpus):
            if number > after:
                yield number, _record(row, checked)
        for record in self._judgements.records("judged, but not in the queries"):
            number += 1
            if number > after:
                yield number, record

    @cached_property
    def _judgements(self) -> Judgements:
        judgements = Judgements()
        if self._queries is not None:
            read_queries(self._queries, judgements)
        for file in self._qrels:
            read_grades(file, split_of(file, self._source.split), judgements)
        return judgements


def _record(row: Any, checked: bool) -> Item | Reject:
    if isinstance(row, Reject):
        return row
    if not isinstance(row, dict):
        return Reject(f"expected an object, got {type(row).__name__}", raw_start(row))
    title, text, metadata = row.get("title") or "", row.get("text") or "", row.get("metadata") or {}
    id = row.get("_id", row.get("id", ""))
    if not (isinstance(title, str) and isinstance(text, str) and isinstance(metadata, dict)):
        return Reject("expected texts under 'title' and 'text', an object under 'metadata'", raw_start(row))
    if id is None or isinstance(id, dict | list | bool | float):
        return Reject(f"_id: expected text or a whole number, got {type(id).__name__}", raw_start(row))
    attributes = {name: plain(value) for name, value in metadata.items() if value is not None}
    if title:
        attributes["title"] = title
    item = Item(id=str(id), text=f"{title} {text}".strip(), attributes=attributes)
    if checked:
        return item
    try:
        validate_item(item)
    except InvalidInput as error:
        return Reject(str(error), raw_start(row))
    return item


def _file(folder: Path, stem: str) -> Path | None:
    for ending in (".jsonl", ".jsonl.gz", ".json"):
        if (file := folder / f"{stem}{ending}").is_file():
            return file
    return None
