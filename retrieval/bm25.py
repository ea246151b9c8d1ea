"""BM25 in numpy, exactly as SQLite's FTS5 scores, over postings that a subclass knows where to read."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.text_search import query_terms

# FTS5's own constants; an idf that would be negative is raised to the last.
_K1, _B, _LEAST_IDF = 1.2, 0.75, 1e-6
_MAX_TERMS = 100_000  # whose tokens are kept: whoever asks chooses them

Places = NDArray[np.int64]
Postings = tuple[Places, NDArray[np.float64]]  # places of documents, and their weights


class Bm25(ABC):
    """Scores the documents of a collection; each has a place, from 0."""

    def __init__(self) -> None:
        """Begin without documents."""
        self._lengths: NDArray[np.float64] = np.empty(0)  # in tokens, by place
        self._total = 0  # documents that count
        self._mean_length = 0.0
        self._postings: dict[str, Postings] = {}  # of tokens that were asked for
        self._tokens: dict[str, list[str]] = {}  # of terms that were asked for

    @abstractmethod
    def _read(self, tokens: set[str]) -> None:
        """Put the postings of tokens that were not asked for before into `_postings`."""

    @abstractmethod
    def _named(self, places: Places) -> list[tuple[int, str] | None]:
        """Return item rowid and id of documents; None for those that are gone."""

    @abstractmethod
    def _places(self, rowids: Sequence[int]) -> Places:
        """Return the places of items, shape (n,); -1 for those that are not there."""

    def search(
        self, texts: Sequence[str], limit: int, allowed: NDArray[np.bool_] | None = None
    ) -> list[list[tuple[int, str, float]]]:
        """Find the items that fit each text best; one term in common is enough.

        Args:
            texts: to fit.
            limit: at most so many.
            allowed: which documents may be found, shape (documents,); None = all.

        Returns:
            For each text: (item rowid, item id, score), higher scores first, equal ones by id.
        """
        return [self._best(*self._scores(row), limit, allowed) for row in self._prepare(texts)]

    def scores(self, texts: Sequence[str], item_rowids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Score given items for each text; those that are gone or have no term in common score 0."""
        found: list[list[float]] = []
        for row, rowids in zip(self._prepare(texts), item_rowids, strict=True):
            if not rowids:
                found.append([])
                continue
            scores, _ = self._scores(row)
            places = self._places(rowids)
            # One more, so that the place -1 has a score, also where there are no documents.
            found.append(np.append(scores, 0.0)[places].tolist())
        return found

    def _prepare(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the tokens of each text, whose postings are read."""
        terms = [query_terms(text) for text in texts]
        known = self._tokens if len(self._tokens) < _MAX_TERMS else {}
        if new := {term for row in terms for term in row} - known.keys():
            known.update(tokenise(new))
        self._tokens = known
        # A term is one token, but for rare scripts that the tokeniser splits: those count as words.
        rows = [[token for term in row for token in known[term]] for row in terms]
        missing = {token for row in rows for token in row} - self._postings.keys()
        if missing:
            self._read(missing)
        return rows

    def _scores(self, tokens: Sequence[str]) -> tuple[NDArray[np.float64], list[Places]]:
        """Add up the tokens' weights, shape (documents,); return the places that have each token as well."""
        scores = np.zeros(len(self._lengths))
        holding = []
        for token in tokens:
            places, weights = self._postings[token]
            scores[places] += weights
            holding.append(places)
        return scores, holding

    def _best(
        self,
        scores: NDArray[np.float64],
        holding: Sequence[Places],
        limit: int,
        allowed: NDArray[np.bool_] | None,
    ) -> list[tuple[int, str, float]]:
        if limit < 1:
            return []
        if allowed is not None:
            scores = np.where(allowed, scores, 0.0)
        # The best of those with one rare token are a part of all: what scores below them all is not sought.
        rarest = min((places for places in holding if len(places) >= limit), key=len, default=None)
        least = 0.0 if rarest is None else _at_rank(scores[rarest], limit)
        places = np.flatnonzero((scores >= least) & (scores > 0))
        if len(places) > limit:  # with all that tie with the last
            places = places[scores[places] >= _at_rank(scores[places], limit)]
        found = [
            (*named, score)
            for named, score in zip(self._named(places), scores[places].tolist(), strict=True)
            if named is not None
        ]
        found.sort(key=lambda hit: (-hit[2], hit[1].encode()))
        return found[:limit]

    def _weigh(self, places: Places, times: NDArray[np.int64]) -> Postings:
        """Give each document that has a token its weight.

        Args:
            places: of all documents that have the token, ascending.
            times: how often each has it.
        """
        holding = len(places)
        idf = max(_LEAST_IDF, float(np.log((self._total - holding + 0.5) / (holding + 0.5))))
        relative = self._lengths[places] / self._mean_length if self._mean_length else self._lengths[places]
        return places, idf * (times * (_K1 + 1)) / (times + _K1 * (1 - _B + _B * relative))


def _at_rank(scores: NDArray[np.float64], rank: int) -> float:
    """Return the score at a rank, from 1, of at least so many."""
    return float(np.partition(scores, len(scores) - rank)[len(scores) - rank])


def tokenise(texts: Iterable[str]) -> dict[str, list[str]]:
    """Turn each text into the tokens that FTS5 indexes for it, in order."""
    ordered = sorted(set(texts))
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(word, tokenize='porter unicode61')")
        connection.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab('words', 'instance')")
        connection.executemany("INSERT INTO words(rowid, word) VALUES (?, ?)", enumerate(ordered))
        rows = connection.execute("SELECT doc, term FROM tokens ORDER BY doc, offset").fetchall()
    finally:
        connection.close()
    tokens: dict[str, list[str]] = {text: [] for text in ordered}
    for place, token in rows:
        tokens[ordered[place]].append(token)
    return tokens
