"""The kinds of source, by the name that the command line gives them."""

from collections.abc import Callable, Mapping

from indexer.importers.beir import BeirReader
from indexer.importers.csv import CsvReader
from indexer.importers.documents_db import DocumentsDbReader
from indexer.importers.jsonl import JsonlReader
from indexer.importers.msmarco import MsmarcoReader
from indexer.importers.parquet import ParquetReader
from indexer.importers.source import Reader, Source
from indexer.importers.sqlite import SqliteReader
from indexer.importers.trec import TrecReader
from indexer.importers.triplets import TripletsReader
from retrieval.errors import InvalidInput

READERS: Mapping[str, Callable[[Source], Reader]] = {
    "jsonl": JsonlReader,
    "csv": CsvReader,
    "parquet": ParquetReader,
    "sqlite": SqliteReader,
    "beir": BeirReader,
    "msmarco": MsmarcoReader,
    "documents_db": DocumentsDbReader,
    "triplets": TripletsReader,
    "trec": TrecReader,
}


def open_source(source: Source) -> Reader:
    """Open a source; nothing is written yet.

    Raises:
        UnreadableSource: if it is missing, empty or not what its kind says.
        InvalidInput: if the kind is unknown, or a named column or table does not exist.
        MissingExtra: if reading it needs a package that is not installed.
    """
    if source.kind not in READERS:
        raise InvalidInput(f"kind: expected one of {', '.join(READERS)}, got {source.kind!r}", field="kind")
    return READERS[source.kind](source)
