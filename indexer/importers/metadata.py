"""A CSV file that tells more about the files of a folder: captions, ids, attributes."""

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.importers.csv import CsvTable
from indexer.importers.source import Reject
from retrieval.errors import UnreadableSource

FILE_COLUMNS = ("file", "file_name", "filename", "path")
TEXT_COLUMNS = ("text", "caption")
ID_COLUMN = "id"


@dataclass(frozen=True, slots=True)
class FileMetadata:
    """What the CSV file tells about one file."""

    id: str = ""
    text: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


NOTHING = FileMetadata()


class Metadata:
    """Rows by the file that they name: by its path within the folder, or by its bare name."""

    def __init__(self, path: Path) -> None:
        """Read all rows; of those that name the same file, the last one counts.

        Raises:
            UnreadableSource: if it is no table, or has no column that names files.
            InvalidInput: if two columns have the same name.
        """
        table = CsvTable(path)
        file_column = next((name for name in FILE_COLUMNS if name in table.header), None)
        if file_column is None:
            expected = ", ".join(FILE_COLUMNS)
            raise UnreadableSource(
                f"{path.name}: expected a column {expected}; there are: {', '.join(table.header)}"
            )
        text_column = next((name for name in TEXT_COLUMNS if name in table.header), "")
        roles = {file_column, text_column, ID_COLUMN}
        table.find_numbers(set(table.header) - roles)
        self.bad_rows: list[tuple[int, Reject]] = []
        self._rows: dict[str, FileMetadata] = {}
        for number, row in table.rows():
            if isinstance(row, Reject):
                self.bad_rows.append((number, row))
            elif name := row.get(file_column):
                attributes = {column: value for column, value in row.items() if column not in roles}
                self._rows[_key(name)] = FileMetadata(
                    row.get(ID_COLUMN, ""), row.get(text_column, ""), attributes
                )
        self._used: Counter[str] = Counter()

    def of(self, relative: str) -> FileMetadata:
        """Return what is told about a file."""
        path = _key(relative)
        for key in (path, path.rpartition("/")[2]):
            if (found := self._rows.get(key)) is not None:
                self._used[key] += 1
                return found
        return NOTHING

    @property
    def unused(self) -> int:
        """How many rows name no file that was asked about."""
        return len(self._rows) - len(self._used)


def _key(name: str) -> str:
    """Write a path in one way: some systems part accents from letters, some use backslashes."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/")).removeprefix("./")
