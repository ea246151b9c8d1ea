"""Any table or view of any SQLite database, opened read-only."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from indexer.importers.columns import Columns
from indexer.importers.jsonl import row_item
from indexer.importers.lines import require_file
from indexer.importers.source import Record, Reject, Source, raw_start
from retrieval.errors import InvalidInput, UnreadableSource
from retrieval.items import Item

MAGIC = b"SQLite format 3\x00"
ROWID = "rowid"


class SqliteReader:
    """Reads one item a row. The id defaults to the primary key, else `id`, else the rowid."""

    ids_are_content = False

    def __init__(self, source: Source) -> None:
        self._path = source.path
        _check_header(source.path)
        with _open(source.path) as connection:
            self._table = _table(connection, source)
            self._header, key = _columns(connection, self._table)
            self._has_rowid = _has_rowid(connection, self._table)
        if not source.id:
            fallback = next((name for name in ("id", "_id") if name in self._header), ROWID)
            source = replace(source, id=key or fallback)
        self._columns = Columns(source)
        extra = [ROWID] if self._has_rowid else []
        self._columns.check([*self._header, *extra])
        self._every_column = source.attributes is None

    def records(self, after: int = 0, *, checked: bool = False) -> Iterator[Record]:
        """Yield an item per row, in rowid order."""
        with _open(self._path) as connection:
            number = after
            for values in connection.execute(self._query(), (after,)):
                number += 1
                yield number, self._record(dict(zip(self._selected(), values, strict=True)), checked)

    def _selected(self) -> list[str]:
        by_rowid = self._columns.ids == (ROWID,) and ROWID not in self._header
        return [ROWID, *self._header] if by_rowid else self._header

    def _query(self) -> str:
        columns = ", ".join(_quoted(name) if name != ROWID else ROWID for name in self._selected())
        order = f" ORDER BY {ROWID}" if self._has_rowid else ""
        return f"SELECT {columns} FROM {_quoted(self._table)}{order} LIMIT -1 OFFSET ?"

    def _record(self, row: dict[str, Any], checked: bool) -> Item | Reject:
        if self._every_column:  # a BLOB is no attribute: it is left out unless it was asked for
            row = {name: value for name, value in row.items() if not isinstance(value, bytes)}
        elif blob := next((n for n in self._columns.attributes or () if isinstance(row[n], bytes)), None):
            return Reject(f"{blob}: a BLOB cannot be an attribute", raw_start(row))
        return row_item(self._columns, row, checked)


def _check_header(path: Path) -> None:
    require_file(path)
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise UnreadableSource(f"{path.name}: {error.strerror}") from error
    if not header.startswith(MAGIC) or len(header) < 100:
        raise UnreadableSource(f"{path.name}: is no SQLite database")
    page = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    # The page count is only valid if written by the same change as the file's change counter.
    if header[24:28] == header[92:96] and path.stat().st_size < pages * (65536 if page == 1 else page):
        raise UnreadableSource(f"{path.name}: the database is cut off")


class _open:  # noqa: N801 - reads as a function
    """A read-only connection, whose faults are the source's."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        log = path.with_name(path.name + "-wal")
        # Immutable needs no lock and no write access beside the file, but cannot see a log.
        mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        self._uri = f"file:{quote(str(path.resolve()))}?{mode}"

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = sqlite3.connect(self._uri, uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise UnreadableSource(f"{self._name}: {error}") from error
        # Invalid bytes become surrogates, which no valid item may hold: they cost their row only.
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        return self._connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with closing(self._connection):
            if isinstance(error, sqlite3.Error):
                raise UnreadableSource(f"{self._name}: {error}") from error


def _table(connection: sqlite3.Connection, source: Source) -> str:
    names = [
        str(name)
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%'"
            " ESCAPE '\\' ORDER BY name"
        )
    ]
    if source.table in names:
        return source.table
    if not names:
        raise UnreadableSource(f"{source.path.name}: the database has no tables")
    if source.table:
        raise InvalidInput(f"table: no table {source.table!r}; there are: {', '.join(names)}", field="table")
    if len(names) > 1:
        raise InvalidInput(f"table: name one of {', '.join(names)}", field="table")
    return names[0]


def _columns(connection: sqlite3.Connection, table: str) -> tuple[list[str], str]:
    rows = connection.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()
    keys = [row[1] for row in rows if row[5]]
    return [row[1] for row in rows], keys[0] if len(keys) == 1 else ""


def _has_rowid(connection: sqlite3.Connection, table: str) -> bool:
    try:
        kind = connection.execute("SELECT type FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        connection.execute(f"SELECT {ROWID} FROM {_quoted(table)} LIMIT 0")
    except sqlite3.OperationalError:  # WITHOUT ROWID
        return False
    return bool(kind == "table")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
