"""Searching a Redis version beside a database: what is fresh goes to Redis, where every server finds it."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.alike import AlikeAnswer
from retrieval.content import Content
from retrieval.errors import BackendUnavailable, TwinspireError, Unavailable
from retrieval.filters import Filter
from retrieval.index import Keys, Vectors
from retrieval.opening import OpenIndex
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_filters import shown_attributes
from retrieval.redis_index import RedisIndex
from retrieval.redis_item import RedisItem
from retrieval.redis_items import FIRST_PROVISIONAL_KEY, RedisItems, generation_of
from retrieval.redis_journal import RedisJournal
from retrieval.redis_lexical import LexicalNotServed, RedisLexical
from retrieval.redis_reach import Reach
from retrieval.redis_rows import RedisRows
from retrieval.redis_server import redis_server
from retrieval.redis_sharing import open_sharing
from retrieval.redis_store import segment_contents
from retrieval.search import SearchParams, SearchResult, VectorQuery
from retrieval.searcher import Searcher
from retrieval.segment_owners import Kept, Owner
from retrieval.workspace import Workspace

# Searches of one query, where writes overtake it again and again.
MAX_ATTEMPTS = 3

T = TypeVar("T")


def make_redis_searcher(ws: Workspace, collection: str, opened: OpenIndex) -> Searcher:
    """Make the searcher for a version in Redis: beside a database, or without one."""
    if ws.mirrors_redis:
        return LoneRedisSearcher(ws, collection, opened)
    return RedisSearcher(ws, collection, opened)


class _SearcherInRedis(Searcher):
    """What both have in common: vectors that came after the build are in the index, too."""

    def __init__(self, ws: Workspace, collection: str, opened: OpenIndex, items: RedisItems) -> None:
        assert isinstance(opened.index, RedisIndex)
        self._in_redis, self._items = opened.index, items
        super().__init__(ws, collection, opened)

    @property
    def fresh_count(self) -> int:
        """How many vectors came after the build."""
        return len(self._in_redis.stored.added())

    def _read_newest(self) -> None:
        """Do nothing: what is fresh is in the index already."""

    def changes(self) -> int:
        """Return a number that differs after a write to Redis."""
        try:
            return self._items.generation()
        except Unavailable:
            return -1  # whoever looks closer is told

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order."""
        return self._in_redis.vectors(keys)

    def has_vectors(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys have a stored vector, shape (n,)."""
        return self._in_redis.holds(keys)

    def search_alike(self, vectors: Vectors, limit: int, params: SearchParams) -> AlikeAnswer:
        """Answer queries that differ only in their vector; where parts are away, and may be, one by one."""
        try:
            return self._search_whole(vectors, limit, replace(params, allow_partial=False))
        except BackendUnavailable:
            if not self.may_miss(params):
                raise
        found = self.search([VectorQuery(vector=vector, limit=limit, params=params) for vector in vectors])
        return AlikeAnswer([], [], np.empty((0, limit)), dict(enumerate(found)), 0.0, 0.0)

    def _search_whole(self, vectors: Vectors, limit: int, params: SearchParams) -> AlikeAnswer:
        return super().search_alike(vectors, limit, params)


class RedisSearcher(_SearcherInRedis):
    """A searcher whose index takes live writes; rows and words come from the database."""

    def __init__(self, ws: Workspace, collection: str, opened: OpenIndex) -> None:
        """Take an open version and bring Redis in step with the database.

        Raises:
            BackendUnavailable: if Redis does not answer, or the database is locked.
        """
        self._sharing = open_sharing(ws, opened.version, opened.manifest)
        super().__init__(ws, collection, opened, self._sharing.items)

    def refresh(self) -> int:
        """Bring Redis in step with what was written to the database; return `fresh_count`."""
        self._sharing.catch_up()
        self._in_redis.refresh()
        return self.fresh_count

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

    def known_vectors(self, keys: Keys) -> tuple[Keys, Vectors]:
        """Return those of these keys that have a stored vector, and the vectors; both by ascending key."""
        return self._in_redis.stored.fetch(np.unique(keys))


class LoneRedisSearcher(_SearcherInRedis):
    """A searcher of a server without a database: rows and filters come from Redis."""

    def __init__(self, ws: Workspace, collection: str, opened: OpenIndex) -> None:
        """Take an open version.

        Raises:
            BackendUnavailable: if Redis does not answer.
        """
        catalog = RedisCatalog(redis_server())
        self._numeric = catalog.versions(collection).get(opened.version, frozenset())
        items = RedisItems(redis_server(), collection, max(1, catalog.partitions(collection)))
        super().__init__(ws, collection, opened, items)
        self._cache = self._rows = RedisRows(items, self._in_redis, self._numeric)
        self._words = RedisLexical(redis_server(), self._in_redis.where, items, lambda: self._rows.reach)
        self._owners = Kept(self._read_owners, None)
        self._segments = Kept(self._words.segments_of, ())
        self._in_redis.along = (
            self._items.ask_generation(),
            lambda reply: self._rows.told(generation_of(reply)),
        )
        with suppress(LexicalNotServed):  # whoever asks for words is told
            self._words.follow(self._rows.seen_generation())

    def refresh(self) -> int:
        """Learn what other servers added; return `fresh_count`."""
        self._in_redis.refresh()
        return self.fresh_count

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

    def _search_whole(self, vectors: Vectors, limit: int, params: SearchParams) -> AlikeAnswer:
        search = super()._search_whole

        def whole() -> AlikeAnswer:
            # Comparing with all vectors may do without the graph, which is what tells along.
            with nullcontext() if params.exact else self._rows.told_along():
                return search(vectors, limit, params)

        return self._steadily(whole)

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

    def _read_owners(self, keys: Sequence[int]) -> dict[int, Owner | None]:
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

    def lexical_search(
        self, texts: Sequence[str], limit: int, filter: Filter | None
    ) -> list[list[tuple[int, str, float]]]:
        """Find the items that fit each text best by BM25: (item rowid, id, score)."""
        return self._words.find(texts, limit, None if filter is None else self._rows.selection(filter))

    def lexical_scores(self, texts: Sequence[str], items: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        """Score given items for each text by BM25; those with no word in common score 0."""
        found = self._words.scores(texts, items)
        return [dict(zip(*pair, strict=True)) for pair in zip(items, found, strict=True)]
