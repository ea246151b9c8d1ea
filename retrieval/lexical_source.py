"""BM25 for a searcher: query by query from FTS5, or for many from memory, with the same scores."""

import threading
from collections.abc import Sequence

from retrieval.filter_sql import compile_filter
from retrieval.filters import Filter
from retrieval.lexical_batch import LexicalBatch
from retrieval.text_search import lexical_scores, lexical_search
from retrieval.workspace import Workspace

# Reading all lengths pays off after so many queries. What is written later is added to what was read.
BATCH_FROM = 16


class LexicalSource:
    """Searches the words of a collection. May be shared by threads."""

    def __init__(self, ws: Workspace, collection: str) -> None:
        """Read nothing yet."""
        self._ws = ws
        self._collection = collection
        self._lock = threading.Lock()
        self._generation = -1  # of the database, as the searcher counts
        self._asked = 0  # queries since all was to be read anew
        self._batch: LexicalBatch | None = None

    def search(
        self, texts: Sequence[str], limit: int, filter: Filter | None, generation: int
    ) -> list[list[tuple[int, str, float]]]:
        """Find the items that fit each text best: (item rowid, id, score)."""
        batch = self._in_memory(len(texts), generation) if filter is None else None
        if batch is not None:
            return batch.search(texts, limit)
        allowed = None if filter is None else compile_filter(filter)
        return [lexical_search(self._ws, self._collection, text, limit, allowed=allowed) for text in texts]

    def scores(
        self, texts: Sequence[str], items: Sequence[Sequence[int]], generation: int
    ) -> list[dict[int, float]]:
        """Score given items for each text; those with no word in common are left out."""
        batch = self._in_memory(0, generation)
        if batch is not None:
            found = batch.scores(texts, items)
            return [dict(zip(*pair, strict=True)) for pair in zip(items, found, strict=True)]
        return [
            lexical_scores(self._ws, self._collection, text, rowids) if rowids else {}
            for text, rowids in zip(texts, items, strict=True)
        ]

    def _in_memory(self, queries: int, generation: int) -> LexicalBatch | None:
        with self._lock:
            if generation != self._generation:
                self._generation = generation
                self._batch = self._batch.after_writes() if self._batch is not None else None
                self._asked = self._asked if self._batch is not None else 0
            self._asked += queries
            if self._batch is None and self._asked >= BATCH_FROM:
                self._batch = LexicalBatch(self._ws, self._collection)
            if self._batch is not None:
                self._batch = self._batch.within_bounds()
            return self._batch
