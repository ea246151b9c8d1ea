"""Parquet files, a batch of rows at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from indexer.importers.columns import Columns
from indexer.importers.jsonl import row_item
from indexer.importers.lines import require_file
from indexer.importers.source import Record, Source
from retrieval.errors import MissingExtra, UnreadableSource

BATCH_ROWS = 1000


class ParquetReader:
    """Reads one item a row."""

    ids_are_content = False

    def __init__(self, source: Source) -> None:
        self._path = source.path
        self._columns = Columns(source)
        header = parquet_columns(source.path)
        self._columns.check(header)
        self._read = header
        if (wanted := self._columns.attributes) is not None:
            needed = {*self._columns.ids, *self._columns.texts, *wanted}
            self._read = [name for name in header if name in needed]

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield an item per row."""
        for number, row in parquet_rows(self._path, after, columns=self._read):
            yield number, row_item(self._columns, row, checked)


def parquet_columns(path: Path) -> list[str]:
    """Name the columns.

    Raises:
        UnreadableSource: if it is no Parquet file.
        MissingExtra: if pyarrow is not installed.
    """
    with _open(path) as file:
        return list(file.schema_arrow.names)


def parquet_rows(
    path: Path, after: int = 0, *, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield rows as dictionaries, numbered from 1; row groups before `after` are not read.

    Raises:
        UnreadableSource: if a page is damaged.
    """
    number = 0
    with _open(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if number + rows <= after:
                number += rows
                continue
            for row in _group_rows(file, group, columns, path.name):
                number += 1
                if number > after:
                    yield number, row


def _group_rows(file: Any, group: int, columns: Sequence[str] | None, name: str) -> Iterator[dict[str, Any]]:
    import pyarrow

    try:
        wanted = None if columns is None else list(columns)
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=wanted, use_threads=False):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UnreadableSource(f"{name}: the Parquet file is damaged") from error


def _open(path: Path) -> Any:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtra("reading Parquet", "parquet") from error
    require_file(path)
    try:
        return ParquetFile(path, pre_buffer=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise UnreadableSource(f"{path.name}: is no Parquet file, or a damaged one") from error
