"""Searching a Redis version beside a database: what is fresh goes to Redis, where every server finds it."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from retrieval.content import Content
from retrieval.errors import FailedPrecondition, TwinspireError, Unavailable
from retrieval.filter_sql import validate_filter
from retrieval.filters import Filter
from retrieval.index import Keys, Selection, Vectors
from retrieval.publishing import OpenIndex
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_filters import compile_filter, matches, shown_attributes
from retrieval.redis_index import RedisIndex
from retrieval.redis_items import FIRST_PROVISIONAL_KEY, RedisItem, RedisItems
from retrieval.redis_journal import RedisJournal
from retrieval.redis_reach import EVERYWHERE, Reach
from retrieval.redis_server import redis_server
from retrieval.redis_sharing import open_sharing
from retrieval.redis_store import segment_contents
from retrieval.row_cache import RowCache
from retrieval.search import Row, SearchResult, VectorQuery
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace

MAX_ROWS = 100_000
MAX_SELECTIONS = 32


class LexicalNotServed(FailedPrecondition):
    """This server has no database, and so no index of words."""

    reason = "LEXICAL_NOT_SERVED"

    def __init__(self) -> None:
        super().__init__(
            "this server has no database, and so no index of words: ask for text, not for hybrid, or ask a"
            " server that has the workspace"
        )


def make_redis_searcher(ws: Workspace, collection: str, opened: OpenIndex) -> Searcher:
    """Make the searcher for a version in Redis: beside a database, or without one."""
    if ws.mirrors_redis:
        return LoneRedisSearcher(ws, collection, opened)
    return RedisSearcher(ws, collection, opened)


class RedisSearcher(Searcher):
    """A searcher whose index takes live writes; rows and words come from the database."""

    def __init__(self, ws: Workspace, collection: str, opened: OpenIndex) -> None:
        """Take an open version and bring Redis in step with the database.

        Raises:
            BackendUnavailable: if Redis does not answer, or the database is locked.
        """
        assert isinstance(opened.index, RedisIndex)
        self._in_redis = opened.index
        self._sharing = open_sharing(ws, opened.version, opened.manifest)
        super().__init__(ws, collection, opened)

    @property
    def fresh_count(self) -> int:
        """How many vectors came after the build."""
        return len(self._in_redis.stored.added())

    def refresh(self) -> int:
        """Bring Redis in step with what was written to the database; return `fresh_count`."""
        self._sharing.catch_up()
        self._in_redis.refresh()
        return self.fresh_count

    def _read_newest(self) -> None:
        """Do nothing: what is fresh is in Redis."""

    def add_fresh(self, keys: Keys, vectors: Vectors) -> None:
        """Do nothing: `share` writes what was stored, with its item."""

    def share(self, ids: Sequence[str]) -> None:
        """Let every server find items that were just stored and encoded."""
        self._sharing.share(ids)
        self._in_redis.refresh()

    def forget(self, ids: Sequence[str]) -> None:
        """Let no server find items that were just deleted."""
        self._sharing.forget(ids)

    def drain(self) -> list[str]:
        """Take over into the database what servers without one wrote; return the ids."""
        return RedisJournal(redis_server(), self.collection).drain(self._ws)

    def changes(self) -> int:
        """Return a number that differs after a write to Redis."""
        return _generation(self._sharing.items)

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order."""
        return self._in_redis.vectors(keys)

    def has_vectors(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys have a stored vector, shape (n,)."""
        return self._in_redis.holds(keys)


def _generation(items: RedisItems) -> int:
    try:
        return items.generation()
    except Unavailable:
        return -1  # whoever looks closer is told


class LoneRedisSearcher(Searcher):
    """A searcher of a server without a database: rows and filters come from Redis."""

    def __init__(self, ws: Workspace, collection: str, opened: OpenIndex) -> None:
        """Take an open version.

        Raises:
            BackendUnavailable: if Redis does not answer.
        """
        assert isinstance(opened.index, RedisIndex)
        self._in_redis = opened.index
        catalog = RedisCatalog(redis_server())
        self._numeric = catalog.versions(collection).get(opened.version, frozenset())
        self._items = RedisItems(redis_server(), collection, max(1, catalog.partitions(collection)))
        super().__init__(ws, collection, opened)
        self._cache = self._rows = RedisRows(self._items, self._in_redis, self._numeric)

    @property
    def fresh_count(self) -> int:
        """How many vectors came after the build."""
        return len(self._in_redis.stored.added())

    def refresh(self) -> int:
        """Learn what other servers added; return `fresh_count`."""
        self._in_redis.refresh()
        return self.fresh_count

    def changes(self) -> int:
        """Return a number that differs after a write to Redis."""
        return _generation(self._items)

    def _read_newest(self) -> None:
        """Do nothing: what other servers add is in the index already."""

    def pending(self, ids: Sequence[str]) -> list[tuple[int, Content, RedisItem]]:
        """List the segments of items that have no vector in this version yet."""
        return self._pending(list(self._items.get(ids).values()))

    def pending_provisional(self) -> list[tuple[int, Content, RedisItem]]:
        """List the segments without a vector of all items that only the journal holds yet."""
        return self._pending(list(self._items.walk(FIRST_PROVISIONAL_KEY - 1)))

    def _pending(self, items: Sequence[RedisItem]) -> list[tuple[int, Content, RedisItem]]:
        keys = np.array([span.key for item in items for span in item.segments], dtype=np.int64)
        return segment_contents(items, keys[self._in_redis.holds(keys)])

    def add(self, keys: Keys, vectors: Vectors, items: Sequence[RedisItem]) -> None:
        """Let every server find segments that were just encoded."""
        shown = [shown_attributes(item.id, item.parsed, self._numeric) for item in items]
        self._in_redis.add(keys, vectors, shown)
        self._items.changed()

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order."""
        return self._in_redis.vectors(keys)

    def has_vectors(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys have a stored vector, shape (n,)."""
        return self._in_redis.holds(keys)

    def item_vector(self, id: str) -> Vectors | None:
        """Return the unit vector of an item, the mean over its segments; None if it is not encoded."""
        item = self._items.get([id]).get(id)
        keys = np.array(sorted(span.key for span in item.segments) if item else [], dtype=np.int64)
        _, rows = self._in_redis.stored.fetch(keys)
        if not len(rows):
            return None
        total: Vectors = rows.sum(axis=0)
        return total / np.linalg.norm(total)

    def has_item(self, id: str) -> bool:
        """Tell whether there is such an item."""
        return id in self._items.get([id])

    def search(self, queries: Sequence[VectorQuery]) -> list[SearchResult | TwinspireError]:
        """Answer a batch of queries; those that ask for words get an error each."""
        wordless = [query for query in queries if not query.lexical_text]
        strict = [query for query in wordless if not _may_miss(query)]
        whole = iter(super().search(strict) if strict else [])
        in_part = iter(self._search_in_part([query for query in wordless if _may_miss(query)]))
        return [
            LexicalNotServed() if query.lexical_text else next(in_part if _may_miss(query) else whole)
            for query in queries
        ]

    def _search_in_part(self, queries: Sequence[VectorQuery]) -> list[SearchResult | TwinspireError]:
        """Answer queries that may miss items which are out of reach."""
        if not queries:
            return []
        with self._rows.reaching(Reach(may_miss=True)) as reach:
            answers = super().search(queries)
        for answer in answers:
            if isinstance(answer, SearchResult):
                answer.partial = answer.partial or reach.fault is not None
        return answers


def _may_miss(query: VectorQuery) -> bool:
    return query.params.allow_partial


class RedisSelection:
    """The segments of the items that match a filter, found by FILTER; implements `index.Selection`."""

    def __init__(self, filter: Filter, items: RedisItems, index: RedisIndex, numeric: frozenset[str]) -> None:
        """Compile the filter; nothing is asked yet.

        Raises:
            InvalidFilter: if the filter is malformed or too large.
        """
        validate_filter(filter)
        self._filter = filter
        self._expression = compile_filter(filter, numeric)
        self._items = items
        self._index = index
        self._keys: Keys | None = None

    @property
    def filter(self) -> Filter:
        """The condition as a tree."""
        return self._filter

    @property
    def keys(self) -> Keys:
        """The matching segments' keys, ascending; found on first use, then kept."""
        if self._keys is None:
            found = self._index.matching(self._expression.text)
            if not self._expression.exact and len(found):
                rows = self._items.rows(found.tolist())
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
        self.generation = -1
        self._known: dict[int, Row | None] = {}
        self._filters: dict[str, RedisSelection] = {}
        self._thread = threading.local()

    @contextmanager
    def reaching(self, reach: Reach) -> Iterator[Reach]:
        """Let what this thread asks inside miss what is out of reach."""
        self._thread.reach = reach
        try:
            yield reach
        finally:
            self._thread.reach = EVERYWHERE

    def refresh(self) -> bool:
        """Forget everything if Redis was written to since the last call."""
        generation = self._items.generation(getattr(self._thread, "reach", EVERYWHERE))
        if generation != self.generation or generation < 0:  # there may have been a write
            self._known, self._filters = {}, {}
            self.generation = generation
        return False  # there are no vectors beside Redis to read

    def rows(self, keys: Sequence[int]) -> Mapping[int, Row | None]:
        """Return a mapping that has these keys at least; the row of a key that is dead is None."""
        known = self._known
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        if missing:
            if len(known) > MAX_ROWS:
                known = self._known = {key: known[key] for key in keys if key in known}
            reach = getattr(self._thread, "reach", EVERYWHERE)
            found = self._items.rows(missing, reach)
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
        name = repr(filter)  # 1 and true are equal, but not alike
        if name not in filters:
            if len(filters) >= MAX_SELECTIONS:
                filters.pop(next(iter(filters)), None)
            filters[name] = RedisSelection(filter, self._items, self._index, self._numeric)
        return filters[name]
