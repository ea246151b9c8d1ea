"""BM25 for many queries at once, over all items: what `lexical_search` approximates, and faster.

FTS5 visits every match of every query, so `lexical_search` lets the rarer terms choose candidates. Here the
postings of all queries' terms are read once, and each query adds its terms' weights in numpy: nothing is left
out, and the scores are those of `lexical_scores`.
"""

import sqlite3
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.collections import collection_rowid, text_index
from retrieval.text_search import query_terms
from retrieval.workspace import Workspace

# FTS5's own constants; an idf that would be negative is raised to the last.
_K1, _B, _LEAST_IDF = 1.2, 0.75, 1e-6

_Postings = tuple[NDArray[np.int64], NDArray[np.float64]]  # places of documents, and their weights


class LexicalBatch:
    """A collection's texts as they are now, read for searching many queries.

    Holds about 12 bytes for each occurrence of a term that was asked for.
    """

    def __init__(self, ws: Workspace, collection: str) -> None:
        """Read the lengths of all texts.

        Raises:
            CollectionNotFound: if there is no such collection.
        """
        owner = collection_rowid(ws, collection)
        self._ws = ws
        self._table = text_index(owner)
        sizes = ws.fetch(f"SELECT id, sz FROM {self._table}_docsize ORDER BY id")
        self._rowids = np.fromiter((rowid for rowid, _ in sizes), dtype=np.int64, count=len(sizes))
        self._lengths = np.fromiter((_varint(size) for _, size in sizes), dtype=np.float64, count=len(sizes))
        ids = dict(ws.fetch("SELECT rowid, id FROM items WHERE collection = ?", (collection,)))
        self._ids: list[str] = [ids.get(rowid, "") for rowid in self._rowids.tolist()]
        self._postings: dict[str, _Postings] = {}
        self._tokens: dict[str, list[str]] = {}  # of terms that were asked for

    def search(self, texts: Sequence[str], limit: int) -> list[list[tuple[int, str, float]]]:
        """Find the items that fit each text best; one term in common is enough.

        Returns:
            For each text: (item rowid, item id, score), higher scores first, equal ones by id.
        """
        return [self._best(*self._scores(row), limit) for row in self._prepare(texts)]

    def scores(self, texts: Sequence[str], item_rowids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Score given items for each text; those that are gone or have no term in common score 0."""
        found = []
        for row, rowids in zip(self._prepare(texts), item_rowids, strict=True):
            scores, _ = self._scores(row)
            wanted = np.asarray(rowids, dtype=np.int64)
            places = np.minimum(np.searchsorted(self._rowids, wanted), max(0, len(self._rowids) - 1))
            there = self._rowids[places] == wanted if len(self._rowids) else np.zeros(len(wanted), np.bool_)
            found.append(
                np.where(there, scores[places], 0.0).tolist() if there.any() else [0.0] * len(rowids)
            )
        return found

    def _prepare(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the tokens of each text, whose postings are read."""
        terms = [query_terms(text) for text in texts]
        new = {term for row in terms for term in row} - self._tokens.keys()
        if new:
            self._tokens |= {term: [] for term in new} | _tokenise(new)
        # A term is one token, but for rare scripts that the tokeniser splits: those count as words.
        rows = [[token for term in row for token in self._tokens[term]] for row in terms]
        self._read({token for row in rows for token in row})
        return rows

    def _scores(self, tokens: Sequence[str]) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
        """Add up the tokens' weights, shape (documents,); return the places that have each token as well."""
        scores = np.zeros(len(self._rowids))
        holding = []
        for token in tokens:
            places, weights = self._postings[token]
            scores[places] += weights
            holding.append(places)
        return scores, holding

    def _best(
        self, scores: NDArray[np.float64], holding: Sequence[NDArray[np.int64]], limit: int
    ) -> list[tuple[int, str, float]]:
        if limit < 1:
            return []
        # The best of those with one rare token are a part of all: what scores below them all is not sought.
        rarest = min((places for places in holding if len(places) >= limit), key=len, default=None)
        least = 0.0 if rarest is None else _at_rank(scores[rarest], limit)
        places = np.flatnonzero((scores >= least) & (scores > 0))
        if len(places) > limit:  # with all that tie with the last
            places = places[scores[places] >= _at_rank(scores[places], limit)]
        rows = zip(self._rowids[places].tolist(), places.tolist(), scores[places].tolist(), strict=True)
        found = [(rowid, self._ids[place], score) for rowid, place, score in rows]
        found.sort(key=lambda hit: (-hit[2], hit[1].encode()))
        return found[:limit]

    def _read(self, tokens: set[str]) -> None:
        """Read the postings of tokens that were not asked for before."""
        missing = tokens - self._postings.keys()
        if not missing:
            return
        view = f"temp.{self._table}_terms"
        self._ws.fetch(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {view} USING fts5vocab('main', '{self._table}', 'instance')"
        )
        for token in sorted(missing):
            rows = self._ws.fetch(f"SELECT group_concat(doc) FROM {view} WHERE term = ?", (token,))
            self._postings[token] = self._weigh(np.fromstring(rows[0][0] or "", dtype=np.int64, sep=","))

    def _weigh(self, rowids: NDArray[np.int64]) -> _Postings:
        """Turn a token's occurrences into one weight for each document that has it."""
        places, times = np.unique(np.searchsorted(self._rowids, rowids), return_counts=True)
        total, holding = len(self._rowids), len(places)
        idf = max(_LEAST_IDF, float(np.log((total - holding + 0.5) / (holding + 0.5))))
        relative = self._lengths[places] / (self._lengths.sum() / max(1, total))
        return places, idf * (times * (_K1 + 1)) / (times + _K1 * (1 - _B + _B * relative))


def _at_rank(scores: NDArray[np.float64], rank: int) -> float:
    """Return the score at a rank, from 1, of at least so many."""
    return float(np.partition(scores, len(scores) - rank)[len(scores) - rank])


def _varint(raw: bytes) -> int:
    """Decode the first of SQLite's variable-length integers, for values below 2^56."""
    value = 0
    for byte in raw:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value


def _tokenise(terms: set[str]) -> dict[str, list[str]]:
    """Turn each term into the tokens that FTS5 indexes for it."""
    ordered = sorted(terms)
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(word, tokenize='porter unicode61')")
        connection.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab('words', 'instance')")
        connection.executemany("INSERT INTO words(rowid, word) VALUES (?, ?)", enumerate(ordered))
        rows = connection.execute("SELECT doc, term FROM tokens ORDER BY doc, offset").fetchall()
    finally:
        connection.close()
    tokens: dict[str, list[str]] = {}
    for place, token in rows:
        tokens.setdefault(ordered[place], []).append(token)
    return tokens
