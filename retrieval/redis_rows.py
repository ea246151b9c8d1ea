"""Rows, and what filters let through, for a server without a database: from Redis, kept until it changes."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from retrieval.filter_sql import validate_filter
from retrieval.filters import Filter
from retrieval.index import Keys, Selection
from retrieval.redis_filters import compile_filter, matches
from retrieval.redis_index import RedisIndex
from retrieval.redis_items import RedisItems
from retrieval.redis_reach import EVERYWHERE, Reach
from retrieval.row_cache import RowCache, name_of
from retrieval.search import Row

MAX_ROWS = 100_000
MAX_SELECTIONS = 32


class RedisSelection:
    """The segments of the items that match a filter, found by FILTER; implements `index.Selection`."""

    def __init__(
        self,
        filter: Filter,
        items: RedisItems,
        index: RedisIndex,
        numeric: frozenset[str],
        reach: Reach = EVERYWHERE,
    ) -> None:
        """Compile the filter; nothing is asked yet.

        Args:
            filter: a tree.
            items: of the collection.
            index: whose segments it is to find.
            numeric: attributes that FILTER knows as numbers.
            reach: whether parts may be away.

        Raises:
            InvalidFilter: if the filter is malformed or too large.
        """
        validate_filter(filter)
        self._filter = filter
        self._expression = compile_filter(filter, numeric)
        self._items = items
        self._index = index
        self._reach = reach
        self._keys: Keys | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all matches are known: it was asked for them, and no part was away."""
        return self._keys is not None and self._reach.fault is None

    @property
    def filter(self) -> Filter:
        """The condition as a tree."""
        return self._filter

    @property
    def keys(self) -> Keys:
        """The matching segments' keys, ascending; found on first use, then kept."""
        if self._keys is None:
            found = self._index.matching(self._expression.text, self._reach)
            if not self._expression.exact and len(found):
                rows = self._items.rows(found.tolist(), self._reach)
                kept = [
                    key
                    for key in found.tolist()
                    if (row := rows[key]) is not None and matches(self._filter, row.id, row.attributes)
                ]
                found = np.array(kept, dtype=np.int64)
            self._keys = found
        return self._keys


class RedisRows(RowCache):
    """Rows by key from Redis, forgotten as soon as anything is written there."""

    def __init__(self, items: RedisItems, index: RedisIndex, numeric: frozenset[str]) -> None:
        """Begin empty."""
        self._items = items
        self._index = index
        self._numeric = numeric
        self.generation = 0  # grows with each change that was noticed
        self._seen = -1  # of Redis
        self._rows: dict[int, Row | None] = {}
        self._filters: dict[str, RedisSelection] = {}
        self.has_spans = True  # the rows do not tell how many of their item there are
        self._thread = threading.local()

    @contextmanager
    def reaching(self, reach: Reach) -> Iterator[Reach]:
        """Let what this thread asks inside miss what is out of reach."""
        self._thread.reach = reach
        try:
            yield reach
        finally:
            self._thread.reach = EVERYWHERE

    @property
    def reach(self) -> Reach:
        """How much this thread must reach now."""
        reach: Reach = getattr(self._thread, "reach", EVERYWHERE)
        return reach

    def begin(self) -> None:
        """Let a search of this thread begin."""
        self._thread.met_dead = False

    def note_dead(self) -> None:
        """Note that this thread's search found what is dead."""
        self._thread.met_dead = True

    def was_overtaken(self) -> bool:
        """Tell whether this thread's search found what died while it was under way."""
        if not getattr(self._thread, "met_dead", False):
            return False
        seen = self._seen
        return self.seen_generation() != seen

    def seen_generation(self) -> int:
        """Return the generation of Redis that is known here, after a look at it; -1 if it is out of reach."""
        self.refresh()
        return self._seen

    def refresh(self) -> bool:
        """Forget everything if Redis was written to since the last call."""
        if not getattr(self._thread, "is_told", False):
            self.told(self._items.generation(self.reach))
        return False  # there are no vectors beside Redis to read

    @contextmanager
    def told_along(self) -> Iterator[None]:
        """Let what this thread searches inside tell the generation, rather than ask for it before."""
        self._thread.is_told = True
        try:
            yield
        finally:
            self._thread.is_told = False

    def told(self, seen: int) -> None:
        """Forget everything if this is another generation of Redis."""
        if seen != self._seen or seen < 0:  # there may have been a write
            self._rows, self._filters = {}, {}
            self._seen = seen
            self.generation += 1

    def rows(self, keys: Sequence[int]) -> Mapping[int, Row | None]:
        """Return a mapping that has these keys at least; the row of a key that is dead is None."""
        known = self._rows
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        if missing:
            if len(known) > MAX_ROWS:
                known = self._rows = {key: known[key] for key in keys if key in known}
            reach = self.reach
            found = self._items.rows(missing, reach)
            if None in found.values():
                self.note_dead()
            if reach.fault is not None:  # what seems dead may only be away
                return {**known, **found}
            known.update(found)
        return known

    def selection(self, filter: Filter) -> Selection:  # type: ignore[override]  # any Selection will do
        """Return the segments that match a filter.

        Raises:
            InvalidFilter: if the filter is malformed or too large.
        """
        filters = self._filters
        name = name_of(filter)
        known = filters.get(name)
        if known is None or not known.is_whole:
            if len(filters) >= MAX_SELECTIONS:
                filters.pop(next(iter(filters)), None)
            known = RedisSelection(filter, self._items, self._index, self._numeric, self.reach)
            filters[name] = known
        return known
