"""Temporary tables on disk for what an import must remember about all rows: memory stays flat."""

import json
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from indexer.importers.source import Reject
from retrieval.judgements import JudgedQuery

FLUSH_ROWS = 5000


class Scratch:
    """A nameless database that vanishes with this object."""

    def __init__(self, *tables: str) -> None:
        # An empty name: a file in the temporary folder that SQLite has already unlinked. Another thread may
        # go on where one has finished; two never use it at once.
        self.connection = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, self.connection.close)
        self.connection.execute("PRAGMA journal_mode = OFF")
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.execute("PRAGMA cache_size = -32768")
        for table in tables:
            self.connection.execute(f"CREATE TABLE {table} WITHOUT ROWID")
        self.connection.execute("BEGIN")
        self._waiting: dict[str, list[tuple[Any, ...]]] = {}

    def add(self, statement: str, row: tuple[Any, ...]) -> None:
        """Run a writing statement for a row, sooner or later."""
        waiting = self._waiting.setdefault(statement, [])
        waiting.append(row)
        if len(waiting) >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        for statement, rows in self._waiting.items():
            self.connection.executemany(statement, rows)
            rows.clear()


class SeenIds(Scratch):
    """Remembers in which row each id was last seen, and how often."""

    def __init__(self) -> None:
        super().__init__("seen (id TEXT PRIMARY KEY, last INTEGER, times INTEGER)")

    def note(self, id: str, number: int) -> None:
        """Note that row `number` holds `id`; numbers ascend."""
        self.add(
            "INSERT INTO seen VALUES (?, ?, 1)"
            " ON CONFLICT (id) DO UPDATE SET last = excluded.last, times = times + 1",
            (id, number),
        )

    def duplicates(self) -> int:
        """Count the rows whose id comes again in a later row."""
        self.flush()
        (count,) = self.connection.execute("SELECT coalesce(sum(times - 1), 0) FROM seen").fetchone()
        return int(count)

    def last_rows(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the last row of those ids that are in several rows."""
        rows = self.connection.execute(
            "SELECT id, last FROM seen WHERE times > 1 AND id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )
        return dict(rows.fetchall())


class Judgements(Scratch):
    """Joins query texts with grades that come in another order, or from another file."""

    def __init__(self) -> None:
        super().__init__(
            "queries (id TEXT PRIMARY KEY, text TEXT)",
            "grades (query TEXT, item TEXT, grade INTEGER, split TEXT, PRIMARY KEY (query, item))",
            "rejects (number INTEGER PRIMARY KEY, reason TEXT, raw TEXT)",
        )
        self._rejects = 0

    def add_query(self, id: str, text: str) -> None:
        """Note a query's text; a later one wins."""
        self.add("INSERT OR REPLACE INTO queries VALUES (?, ?)", (id, text))

    def add_grade(self, query: str, item: str, grade: int, split: str) -> None:
        """Note a grade; of several for one pair the highest wins."""
        self.add(
            "INSERT INTO grades VALUES (?, ?, ?, ?) ON CONFLICT (query, item) DO UPDATE"
            " SET split = CASE WHEN excluded.grade > grade THEN excluded.split ELSE split END,"
            " grade = max(grade, excluded.grade)",
            (query, item, grade, split),
        )

    def add_reject(self, reason: str, raw: str) -> None:
        """Note a line that is neither."""
        self._rejects += 1
        self.add("INSERT INTO rejects VALUES (?, ?, ?)", (self._rejects, reason, raw))

    def records(self, unknown: str = "judged, but its text is nowhere") -> Iterator[Reject | JudgedQuery]:
        """Yield the rejects, then the queries that have grades but no text, then each judged query by id."""
        self.flush()
        for reason, raw in self.connection.execute("SELECT reason, raw FROM rejects ORDER BY number"):
            yield Reject(reason, raw)
        for (query,) in self.connection.execute(
            "SELECT DISTINCT query FROM grades WHERE query NOT IN (SELECT id FROM queries) ORDER BY query"
        ):
            yield Reject(unknown, query)
        yield from self._judged()

    def _judged(self) -> Iterator[JudgedQuery]:
        rows = self.connection.execute(
            "SELECT query, text, split, item, grade FROM grades JOIN queries ON queries.id = query"
            " ORDER BY query, item"
        )
        for (id, text), group in groupby(rows, key=lambda row: (row[0], row[1])):
            graded = list(group)
            best = max(graded, key=lambda row: row[4])
            if best[4] > 0:  # without a relevant item, nothing can be learned from it or measured by it
                yield JudgedQuery(id=id, text=text, split=best[2], grades={row[3]: row[4] for row in graded})
