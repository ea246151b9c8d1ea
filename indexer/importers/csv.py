"""CSV and TSV with a header row. Columns of nothing but numbers become numbers."""

import csv
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from indexer.importers.columns import Columns
from indexer.importers.jsonl import row_item
from indexer.importers.lines import MAX_LINE_BYTES, lines
from indexer.importers.source import Record, Reject, Source, raw_start
from retrieval.errors import InvalidInput, UnreadableSource
from retrieval.items import MAX_TEXT_BYTES

DELIMITERS = ",\t;|"
INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")  # no leading zeros: those are codes, not numbers
NUMBER = re.compile(r"-?((0|[1-9]\d*)(\.\d+)?|\.\d+)([eE][+-]?\d{1,2})?")
Cast = Callable[[str], str | int | float]


class CsvTable:
    """A table under a header; the delimiter is told from it."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            UnreadableSource: if there is none.
            InvalidInput: if two columns have the same name.
        """
        self._path = path
        csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_TEXT_BYTES))
        self.header, self._delimiter = _read_header(path)
        self._casts: Sequence[Cast] = [str] * len(self.header)

    def find_numbers(self, columns: Collection[str]) -> None:
        """Tell number columns by reading everything once: a single other cell makes a column text."""
        open_columns = {place: INTEGER for place, name in enumerate(self.header) if name in columns}
        filled: set[int] = set()
        for _, cells in self._cells():
            if not open_columns:
                break
            if not isinstance(cells, list):
                continue
            for place, pattern in list(open_columns.items()):
                if not (cell := cells[place]):
                    continue
                filled.add(place)
                if not pattern.fullmatch(cell):
                    if NUMBER.fullmatch(cell):
                        open_columns[place] = NUMBER
                    else:
                        del open_columns[place]
        casts: list[Cast] = [str] * len(self.header)
        for place, pattern in open_columns.items():
            if place in filled:
                casts[place] = int if pattern is INTEGER else float
        self._casts = casts

    def rows(self, after: int = 0) -> Iterator[tuple[int, dict[str, Any] | Reject]]:
        """Yield every row with its number, from 1 below the header, without its empty cells."""
        for number, cells in islice(self._cells(), after, None):
            if isinstance(cells, Reject):
                yield number, cells
                continue
            yield (
                number,
                {
                    name: cast(cell)
                    for name, cell, cast in zip(self.header, cells, self._casts, strict=True)
                    if cell != ""
                },
            )

    def _cells(self) -> Iterator[tuple[int, list[str] | Reject]]:
        """Yield every row below the header with its number, from 1."""
        text = _TextLines(self._path)
        reader = csv.reader(text, delimiter=self._delimiter)
        next(reader)
        number = 0
        while True:
            text.fault = ""
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                yield number, Reject(f"bad CSV: {error}", raw_start(text.last))
                continue
            if not cells and not text.fault:  # a blank line
                continue
            number += 1
            if text.fault:
                yield number, Reject(text.fault, raw_start(text.last))
            elif len(cells) != len(self.header):
                fault = f"expected {len(self.header)} cells, got {len(cells)}"
                yield number, Reject(fault, raw_start(text.last))
            else:
                yield number, cells


class CsvReader:
    """Reads a table whose columns are named like an item's parts."""

    ids_are_content = False

    def __init__(self, source: Source) -> None:
        self._table = CsvTable(source.path)
        self._columns = Columns(source)
        self._columns.check(self._table.header)
        wanted = self._table.header if source.attributes is None else source.attributes
        self._table.find_numbers(set(wanted) - {*self._columns.ids, *self._columns.texts})

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield an item per row, numbered by row from 1 below the header."""
        for number, row in self._table.rows(after):
            if isinstance(row, Reject):
                yield number, row
                continue
            for name in self._columns.texts:
                row.setdefault(name, "")
            yield number, row_item(self._columns, row, checked)


class _TextLines:
    """Decodes lines, noting a fault for the row that holds it instead of failing."""

    def __init__(self, path: Path) -> None:
        self._lines = lines(path, blank=True)
        self.last = b""
        self.fault = ""

    def __iter__(self) -> "_TextLines":
        return self

    def __next__(self) -> str:
        _, self.last = next(self._lines)
        if len(self.last) > MAX_LINE_BYTES:
            self.fault = f"the line is longer than {MAX_LINE_BYTES} bytes"
            return "\n"
        try:
            return self.last.decode()
        except UnicodeDecodeError:
            self.fault = "invalid UTF-8"
            return self.last.decode("utf-8", "replace")


def _read_header(path: Path) -> tuple[list[str], str]:
    _, first = next(lines(path), (0, b""))
    try:
        text = first.decode()
    except UnicodeDecodeError as error:
        raise UnreadableSource(f"{path.name}: the header is not UTF-8 text") from error
    if not text.strip() or len(first) > MAX_LINE_BYTES:
        raise UnreadableSource(f"{path.name}: expected a header row")
    delimiter = max(DELIMITERS, key=text.count)
    try:
        # By the file, not the line: a quoted name may hold a line break.
        header = next(csv.reader(_TextLines(path), delimiter=delimiter))
    except csv.Error as error:
        raise UnreadableSource(f"{path.name}: expected a header row: {error}") from error
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise InvalidInput(f"{path.name}: several columns are named {min(repeated)!r}", field="source")
    return header, delimiter
