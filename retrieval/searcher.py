"""Searches one index version of a collection, with what came after it, and shows what it found."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.alike import AlikeAnswer, regular_queries
from retrieval.errors import TwinspireError
from retrieval.exact_index import holds
from retrieval.filters import Filter
from retrieval.fresh_reader import FreshReader
from retrieval.fusion import MIN_DEPTH, LearnedFusion
from retrieval.hits import choose_hits, needs_more, show
from retrieval.hybrid import fuse_sides, gather_sides
from retrieval.index import Keys, Neighbors, Vectors
from retrieval.index_build import redis_module
from retrieval.item_vectors import item_vectors
from retrieval.items import get_items
from retrieval.lexical_source import LexicalSource
from retrieval.opening import OpenIndex
from retrieval.planner import SPARE
from retrieval.query_checks import fault_of
from retrieval.query_tasks import NOTHING_YET, Task, fill_in, fill_in_by_aspects, first_fetch, in_groups
from retrieval.row_cache import RowCache
from retrieval.search import Hit, Row, ScoreKind, SearchParams, SearchResult, VectorQuery
from retrieval.segment_owners import Kept, Owner, read_owners, read_segments
from retrieval.workspace import Workspace

# If what was fetched was not enough, the search is done again with so many times more.
MORE = 4


def make_searcher(ws: Workspace, collection: str, opened: OpenIndex) -> "Searcher":
    """Make the searcher that fits an open index.

    Raises:
        BackendUnavailable: if the database is locked, or the index's own does not answer.
    """
    if opened.manifest.parameters.backend != "redis":
        return Searcher(ws, collection, opened)
    made: Searcher = redis_module("searcher").make_redis_searcher(ws, collection, opened)
    return made


_USUAL = SearchParams()
_NO_ANSWER = SearchResult((), (), ScoreKind.COSINE, 0.0, 0.0)  # holds the place of an answer to come
_Shown: TypeAlias = tuple[list[Row], list[float], list[Hit] | None]


class Searcher:
    """An open index version, the fresh vectors beside it, and the rows that both stand for.

    Safe to use from several threads. It never waits for the index to be rebuilt: what others wrote is
    seen after `refresh`, and what the same process encoded right after `add_fresh`.
    """

    def __init__(self, ws: Workspace, collection: str, opened: OpenIndex) -> None:
        """Take an open version and read what came after it.

        Raises:
            BackendUnavailable: if the database is locked.
        """
        self.collection = collection
        self.version = opened.version
        self.manifest = opened.manifest
        self.index = opened.index
        self._ws = ws
        self._fresh_reader = FreshReader(ws, collection, opened.manifest)
        self._fresh = self._fresh_reader.vectors
        self._cache = RowCache(ws, collection)
        self._owners: Kept[Owner | None] = Kept(partial(read_owners, ws, collection), None)
        self._segments: Kept[Sequence[int]] = Kept(partial(read_segments, ws), ())
        self._lexical = LexicalSource(ws, collection)
        self.fusion = LearnedFusion.from_manifest(opened.manifest.fusion)
        self.allow_partial = False  # of searches that do not say
        self.refresh()

    @property
    def fresh_count(self) -> int:
        """How many vectors are searched beside the index."""
        return len(self._fresh)

    def refresh(self) -> int:
        """Pick up what was encoded, replaced or deleted since the index was built; return `fresh_count`."""
        return self._fresh_reader.refresh()

    def _read_newest(self) -> None:
        """Pick up what other processes encoded just now."""
        self._fresh_reader.read_newest()

    def add_fresh(self, keys: Keys, vectors: Vectors) -> None:
        """Make vectors searchable that were just stored, without reading them back."""
        self._fresh.add(keys, vectors)

    def share(self, ids: Sequence[str]) -> None:
        """Let other servers find items that were just stored and encoded; here they read the database."""

    def forget(self, ids: Sequence[str]) -> None:
        """Let other servers find items no more that were just deleted; here they read the database."""

    def drain(self) -> list[str]:
        """Take over into the database what servers without one wrote; return the ids."""
        return []

    def changes(self) -> int:
        """Return a number that grows with each write beside the database."""
        return 0

    def item_vector(self, id: str) -> Vectors | None:
        """Return the unit vector of an item, the mean over its segments; None if it is not encoded."""
        manifest = self.manifest
        found = item_vectors(self._ws, self.collection, manifest.fingerprint, [id], manifest.window_s)
        return found.get(id)

    def has_item(self, id: str) -> bool:
        """Tell whether there is such an item."""
        return bool(get_items(self._ws, self.collection, [id]))

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order, wherever they are.

        Raises:
            KeyError: if one is neither in the index nor fresh.
        """
        fresh = keys > self.manifest.built_key
        if not fresh.any():
            return self.index.vectors(keys)
        found = np.empty((len(keys), self.manifest.dims), dtype=np.float32)
        found[fresh] = self._fresh.snapshot().vectors(keys[fresh])
        found[~fresh] = self.index.vectors(keys[~fresh])
        return found

    def has_vectors(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys have a stored vector, shape (n,)."""
        return holds(self.index.keys, keys) | holds(self._fresh.snapshot().keys, keys)

    def known_vectors(self, keys: Keys) -> tuple[Keys, Vectors]:
        """Return those of these keys that have a stored vector, and the vectors, in their order."""
        there = keys[self.has_vectors(keys)]
        return there, self.vectors(there)

    def close(self) -> None:
        """Release the index."""
        self.index.close()

    def search(self, queries: Sequence[VectorQuery]) -> list[SearchResult | TwinspireError]:
        """Answer a batch of queries.

        Returns:
            For each query its answer, or the error that it alone got.

        Raises:
            BackendUnavailable: if the index or the database does not answer.
        """
        started = time.perf_counter()
        if self._cache.refresh():
            self._read_newest()
        outcomes: list[SearchResult | TwinspireError] = []
        tasks: list[Task] = []
        for place, query in enumerate(queries):
            fault = fault_of(query, self.manifest.dims)
            if fault is None:
                tasks.append(Task(place, query, first_fetch(query), NOTHING_YET))
                outcomes.append(_NO_ANSWER)
            else:
                outcomes.append(fault)
        self._find(tasks)
        searched = time.perf_counter()
        for task, result in zip(tasks, self._results(tasks, started, searched), strict=True):
            outcomes[task.place] = result
        return outcomes

    def search_alike(self, vectors: Vectors, limit: int, params: SearchParams) -> AlikeAnswer:
        """Answer queries that differ only in their vector, and ask for nothing but items and scores.

        Args:
            vectors: unit rows, shape (n, dims).
            limit: hits for each query, 1 to 1000.
            params: how hard to look; without oversampling, and partial answers are not allowed.

        Raises:
            DimensionMismatch, NonFiniteVector: if the vectors are none for this index.
            BackendUnavailable: if the index or the database does not answer.
        """
        started = time.perf_counter()
        if self._cache.refresh():
            self._read_newest()
        fetch = limit + SPARE
        nearest = self.nearest(vectors, fetch, None, params)
        searched = time.perf_counter()
        regular, cells, kept = regular_queries(nearest, limit, self._cache)
        others: dict[int, SearchResult] = {}
        if len(regular) < len(vectors):
            places = sorted(set(range(len(vectors))).difference(regular))
            tasks = [
                Task(at, VectorQuery(vector=vectors[at], limit=limit, params=params), fetch, NOTHING_YET)
                for at in places
            ]
            fill_in(tasks, nearest, places)
            others = dict(zip(places, self._results(tasks, started, searched), strict=True))
        search_ms, fetch_ms = (searched - started) * 1e3, (time.perf_counter() - searched) * 1e3
        scores = nearest.scores.ravel()[cells]
        return AlikeAnswer(regular, kept, scores, others, search_ms, fetch_ms)

    def may_miss(self, params: SearchParams) -> bool:
        """Tell whether a search may leave out parts of the index that do not answer."""
        return self.allow_partial if params.allow_partial is None else params.allow_partial

    def _results(self, tasks: Sequence[Task], started: float, searched: float) -> list[SearchResult]:
        """Show what was found; the times are those of `time.perf_counter`."""
        answers = self._show(tasks)
        search_ms, fetch_ms = (searched - started) * 1e3, (time.perf_counter() - searched) * 1e3
        results = []
        for task, (rows, scores, details) in zip(tasks, answers, strict=True):
            kind = ScoreKind.FUSED if task.query.lexical_text else ScoreKind.COSINE
            kind = ScoreKind.ASPECTS if task.query.aspects else kind
            partial = task.candidates.partial
            results.append(SearchResult(rows, scores, kind, search_ms, fetch_ms, partial, details))
        return results

    def _find(self, tasks: Sequence[Task]) -> None:
        """Fill in the candidates, by one search of the index for all queries that may share it."""
        for members in in_groups(tasks, self.may_miss):
            query = members[0].query
            if query.aspects is not None:
                self._find_by_aspects(members, query.filter)
            elif query.lexical_text:
                self._find_hybrid(members, query.filter, query.params)
            else:
                self._find_nearest(members, query.filter, query.params)

    def _find_by_aspects(self, tasks: Sequence[Task], filter: Filter | None) -> None:
        selection = None if filter is None else self._cache.selection(filter)
        for task in tasks:
            fill_in_by_aspects(task, selection)

    def _find_nearest(self, tasks: Sequence[Task], filter: Filter | None, params: SearchParams) -> None:
        fetch = max(task.fetch for task in tasks)
        vectors = np.stack([task.query.vector for task in tasks])
        nearest = self.nearest(vectors, fetch, filter, params)
        fill_in(tasks, nearest, range(len(tasks)))

    def _find_hybrid(self, tasks: Sequence[Task], filter: Filter | None, params: SearchParams) -> None:
        depth = max(MIN_DEPTH, *(2 * task.fetch for task in tasks))
        vectors = np.stack([task.query.vector for task in tasks])
        nearest = self.nearest(vectors, depth, filter, params)
        texts = [task.query.lexical_text for task in tasks]
        sides = gather_sides(self, texts, vectors, nearest, depth, filter)
        for task, side in zip(tasks, sides, strict=True):
            task.candidates = fuse_sides(side, task.query.fusion, self.fusion, nearest.plan)
            task.candidates.partial = nearest.partial

    def nearest(
        self, vectors: Vectors, limit: int, filter: Filter | None = None, params: SearchParams = _USUAL
    ) -> Neighbors:
        """Find the nearest segments in the index and among the fresh ones; some may be dead."""
        selection = None if filter is None else self._cache.selection(filter)
        found = self.index.search(
            vectors,
            limit,
            selection=selection,
            effort=params.effort,
            exact=params.exact,
            allow_partial=self.may_miss(params),
        )
        return self._fresh.beside(found, vectors, limit, selection)

    @property
    def built_key(self) -> int:
        """Keys above it are fresh."""
        return self.manifest.built_key

    def owners(self, keys: Sequence[int]) -> Mapping[int, Owner | None]:
        """Return item rowid and id of each segment; None of those that are dead."""
        return self._owners.get(keys, self._cache.generation)

    def segments_of(self, items: Sequence[int]) -> Mapping[int, Sequence[int]]:
        """Return the segments' keys of each item."""
        return self._segments.get(items, self._cache.generation)

    def lexical_search(
        self, texts: Sequence[str], limit: int, filter: Filter | None
    ) -> list[list[tuple[int, str, float]]]:
        """Find the items that fit each text best by BM25: (item rowid, id, score)."""
        return self._lexical.search(texts, limit, filter, self._cache.generation)

    def lexical_scores(self, texts: Sequence[str], items: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        """Score given items for each text by BM25; those with no word in common are left out."""
        return self._lexical.scores(texts, items, self._cache.generation)

    def _show(self, tasks: Sequence[Task]) -> list[_Shown]:
        """Turn candidates into hits; queries that lost too many of theirs look further."""
        shown: dict[int, _Shown] = {}
        waiting = list(tasks)
        while waiting:
            rows = self._cache.rows([key for task in waiting for key in task.candidates.keys])
            again = []
            for task in waiting:
                hits = choose_hits(task.query, task.candidates, rows)
                if needs_more(task.query, task.candidates, hits):
                    task.fetch *= MORE
                    again.append(task)
                else:
                    shown[task.place] = show(self, task.query, task.candidates, hits, rows)
            self._find(again)
            waiting = again
        return [shown[task.place] for task in tasks]
