"""What hits show, kept in memory for as long as nobody writes to the database."""

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import islice

from retrieval.change_watch import ChangeWatch
from retrieval.filter_sql import FilterSelection
from retrieval.filters import Filter
from retrieval.index import NO_KEY
from retrieval.search import Row
from retrieval.segments import fetch_rows
from retrieval.workspace import Workspace

MAX_CACHED_BYTES = 64 << 20
MAX_CACHED_FILTERS = 32

_ROW_OVERHEAD_BYTES = 400  # of the Python objects that a row is made of


def name_of(filter: Filter) -> str:
    """Return a text that differs for filters of different meaning: 1 and true are equal, but not alike."""
    return repr(filter)


class RowCache:
    """Rows by key, forgotten as soon as anything is written. May be shared by threads."""

    def __init__(self, ws: Workspace, collection: str) -> None:
        """Begin empty."""
        self._ws = ws
        self._collection = collection
        self._watch = ChangeWatch(ws)
        self.generation = -1  # grows with each change of the database that was noticed
        self.has_spans = False  # whether some row that was read stands for a part of an item
        self._rows: dict[int, Row | None] = {}
        self._bytes = 0
        self._selections: OrderedDict[str, FilterSelection] = OrderedDict()
        self._lock = threading.Lock()

    def refresh(self) -> bool:
        """Forget everything if the database changed since the last call, and tell whether it did."""
        generation = self._watch.generation()
        with self._lock:
            if generation == self.generation:
                return False
            self.generation = generation
            self._rows, self._bytes = {}, 0
            self._selections = OrderedDict()
            return True

    def in_order(self, keys: Sequence[int]) -> list[Row | None]:
        """Return the row of each key; None for one that is dead, and for `NO_KEY`."""
        found = list(map(self._rows.get, keys))
        if None in found:
            known = self.rows([key for key in keys if key != NO_KEY])
            found = [known.get(key) for key in keys]
        return found

    def rows(self, keys: Sequence[int]) -> Mapping[int, Row | None]:
        """Return a mapping that has these keys at least; the row of a key that is dead is None."""
        rows = self._rows
        missing = [key for key in keys if key not in rows]
        if not missing:
            return rows
        found: dict[int, Row | None] = dict.fromkeys(missing)
        size = 0
        for key, id, modality, text, uri, attributes, start, end in fetch_rows(
            self._ws, self._collection, missing
        ):
            span = None if start is None or end is None else (start, end)
            self.has_spans = self.has_spans or span is not None
            parsed = json.loads(attributes) if attributes != "{}" else {}
            found[key] = Row(id, modality, text, uri, parsed, span)
            size += len(text) * 2 + len(attributes) * 3 + _ROW_OVERHEAD_BYTES  # with what is `encoded`
        with self._lock:
            if rows is not self._rows:  # something was written meanwhile: these may be old
                return {key: found[key] if key in found else rows[key] for key in keys}
            rows.update(found)
            self._bytes += size
            if self._bytes > MAX_CACHED_BYTES:  # the older half goes, but not from under who reads it now
                self._rows = dict(islice(rows.items(), len(rows) // 2, None))
                self._bytes //= 2
        return rows

    def selection(self, filter: Filter) -> FilterSelection:
        """Return the segments that match a filter.

        Raises:
            InvalidFilter: if the filter is malformed or too large.
        """
        name = name_of(filter)
        with self._lock:
            known = self._selections.get(name)
            if known is not None:
                self._selections.move_to_end(name)
                return known
            selections = self._selections
        made = FilterSelection(self._ws, self._collection, filter)
        with self._lock:
            selections[name] = made
            if len(selections) > MAX_CACHED_FILTERS:
                selections.popitem(last=False)
        return made
