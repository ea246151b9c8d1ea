"""Searching a Redis version beside a database: what is fresh goes to Redis, where every server finds it."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.alike import AlikeAnswer
from retrieval.content import Content
from retrieval.errors import BackendUnavailable, TwinspireError, Unavailable
from retrieval.filter_sql import validate_filter
from retrieval.filters import Filter
from retrieval.index import Keys, Selection, Vectors
from retrieval.publishing import OpenIndex
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_filters import compile_filter, matches, shown_attributes
from retrieval.redis_index import RedisIndex
from retrieval.redis_items import FIRST_PROVISIONAL_KEY, RedisItem, RedisItems, generation_of
from retrieval.redis_journal import RedisJournal
from retrieval.redis_lexical import LexicalNotServed, RedisLexical
from retrieval.redis_reach import EVERYWHERE, Reach
from retrieval.redis_server import redis_server
from retrieval.redis_sharing import open_sharing
from retrieval.redis_store import segment_contents
from retrieval.row_cache import RowCache
from retrieval.search import Row, SearchParams, SearchResult, VectorQuery
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace

MAX_ROWS = 100_000
MAX_SELECTIONS = 32
# Searches of one query, where writes overtake it again and again.
MAX_ATTEMPTS = 3

T = TypeVar("T")


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

    def search_alike(self, vectors: Vectors, limit: int, params: SearchParams) -> AlikeAnswer:
        """Answer queries that differ only in their vector."""
        strict, whole = replace(params, allow_partial=False), super().search_alike
        return _alike_or_in_part(self, lambda: whole(vectors, limit, strict), vectors, limit, params)

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order."""
        return self._in_redis.vectors(keys)

    def has_vectors(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys have a stored vector, shape (n,)."""
        return self._in_redis.holds(keys)

    def known_vectors(self, keys: Keys) -> tuple[Keys, Vectors]:
        """Return those of these keys that have a stored vector, and the vectors; both by ascending key."""
        return self._in_redis.stored.fetch(np.unique(keys))


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
        self._words = RedisLexical(redis_server(), opened.index.where, self._items, lambda: self._rows.reach)
        self._in_redis.along = (
            self._items.ask_generation(),
            lambda reply: self._rows.told(generation_of(reply)),
        )
        with suppress(LexicalNotServed):  # whoever asks for words is told
            self._words.follow(self._rows.seen_generation())

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
        """Answer a batch of queries."""
        answers: dict[int, SearchResult | TwinspireError] = {}
        for may_miss in (False, True):
            for with_words in (False, True):
                places = [
                    place
                    for place, query in enumerate(queries)
                    if (self.may_miss(query.params), bool(query.lexical_text)) == (may_miss, with_words)
                ]
                if places:
                    found = self._search([queries[place] for place in places], may_miss, with_words)
                    answers |= zip(places, found, strict=True)
        return [answers[place] for place in range(len(queries))]

    def _search(
        self, queries: Sequence[VectorQuery], may_miss: bool, with_words: bool
    ) -> Sequence[SearchResult | TwinspireError]:
        """Answer queries that are alike in what they need."""
        with self._rows.reaching(Reach(may_miss)) as reach:
            try:
                answers = self._steadily(lambda: self._answer(queries, with_words))
            except LexicalNotServed as error:
                return [error] * len(queries)
        for answer in answers:
            if isinstance(answer, SearchResult):
                answer.partial = answer.partial or reach.fault is not None
        return answers

    def _answer(
        self, queries: Sequence[VectorQuery], with_words: bool
    ) -> list[SearchResult | TwinspireError]:
        if with_words:
            self._words.follow(self._rows.seen_generation())
        return super().search(queries)

    def search_alike(self, vectors: Vectors, limit: int, params: SearchParams) -> AlikeAnswer:
        """Answer queries that differ only in their vector."""
        strict = replace(params, allow_partial=False)
        search = super().search_alike

        def whole() -> AlikeAnswer:
            # Comparing with all vectors may do without the graph, which is what tells along.
            with nullcontext() if params.exact else self._rows.told_along():
                return search(vectors, limit, strict)

        return _alike_or_in_part(self, lambda: self._steadily(whole), vectors, limit, params)

    def _steadily(self, search: Callable[[], T]) -> T:
        """Search again if what was found was replaced meanwhile, so that none is missed that is there."""
        for _ in range(MAX_ATTEMPTS - 1):
            self._rows.begin()
            answer = search()
            if not self._rows.was_overtaken():
                return answer
        return search()

    def known_vectors(self, keys: Keys) -> tuple[Keys, Vectors]:
        """Return those of these keys that have a stored vector, and the vectors; both by ascending key."""
        return self._in_redis.stored.fetch(np.unique(keys), self._rows.reach)

    def _read_owners(self, keys: Sequence[int]) -> dict[int, tuple[int, str] | None]:
        found = self._words.owners(keys)
        if None in found.values():
            self._rows.note_dead()
        unknown = [key for key in keys if key not in found]
        if unknown:
            ids = self._items.owners(unknown, self._rows.reach)
            items = self._items.get(list(ids.values()), self._rows.reach)
            found |= {
                key: (items[id].rowid, id)
                for key, id in ids.items()
                if id in items and items[id].row(key) is not None
            }
        return found

    def _read_segments(self, items: Sequence[int]) -> dict[int, Sequence[int]]:
        return self._words.segments_of(items)

    def lexical_search(
        self, texts: Sequence[str], limit: int, filter: Filter | None
    ) -> list[list[tuple[int, str, float]]]:
        """Find the items that fit each text best by BM25: (item rowid, id, score)."""
        return self._words.find(texts, limit, None if filter is None else self._rows.selection(filter))

    def lexical_scores(self, texts: Sequence[str], items: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        """Score given items for each text by BM25; those with no word in common score 0."""
        found = self._words.scores(texts, items)
        return [dict(zip(*pair, strict=True)) for pair in zip(items, found, strict=True)]


def _alike_or_in_part(
    searcher: Searcher, whole: Callable[[], AlikeAnswer], vectors: Vectors, limit: int, params: SearchParams
) -> AlikeAnswer:
    """Answer queries that are alike; where parts are away, and may be, one by one without them."""
    try:
        return whole()
    except BackendUnavailable:
        if not searcher.may_miss(params):
            raise
    queries = [VectorQuery(vector=vector, limit=limit, params=params) for vector in vectors]
    found = searcher.search(queries)
    return AlikeAnswer([], [], np.empty((0, limit)), dict(enumerate(found)), 0.0, 0.0)


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
            self._known, self._filters = {}, {}
            self._seen = seen
            self.generation += 1

    def rows(self, keys: Sequence[int]) -> Mapping[int, Row | None]:
        """Return a mapping that has these keys at least; the row of a key that is dead is None."""
        known = self._known
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        if missing:
            if len(known) > MAX_ROWS:
                known = self._known = {key: known[key] for key in keys if key in known}
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
        name = repr(filter)  # 1 and true are equal, but not alike
        known = filters.get(name)
        if known is None or not known.is_whole:
            if len(filters) >= MAX_SELECTIONS:
                filters.pop(next(iter(filters)), None)
            known = RedisSelection(filter, self._items, self._index, self._numeric, self.reach)
            filters[name] = known
        return known
