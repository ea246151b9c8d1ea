"""TREC judgements for items that are already in the collection."""

from collections.abc import Iterator
from functools import cached_property

from indexer.importers.lines import require_file
from indexer.importers.qrels import read_grades, read_queries, split_of
from indexer.importers.scratch import Judgements
from indexer.importers.source import Record, Source
from retrieval.errors import InvalidInput


class TrecReader:
    """Reads a qrels file beside a file of query texts."""

    ids_are_content = False

    def __init__(self, source: Source) -> None:
        if source.queries is None:
            raise InvalidInput("queries: TREC qrels hold no texts: name the file of queries", field="queries")
        require_file(source.path)
        require_file(source.queries)
        self._source = source
        self._texts = source.queries

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield faults, then judged queries by id."""
        records = self._judgements.records("judged, but not in the queries")
        for number, record in enumerate(records, 1):
            if number > after:
                yield number, record

    @cached_property
    def _judgements(self) -> Judgements:
        judgements = Judgements()
        read_queries(self._texts, judgements)
        split = split_of(self._source.path, self._source.split)
        read_grades(self._source.path, split, judgements)
        return judgements
