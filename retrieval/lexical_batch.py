"""BM25 for many queries at once, over all items: what `lexical_search` approximates, and faster.

FTS5 visits every match of every query, so `lexical_search` lets the rarer terms choose candidates. Here the
postings of all queries' terms are read once, and each query adds its terms' weights in numpy: nothing is left
out, and the scores are those of `lexical_scores`.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from copy import copy
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.bm25 import Bm25, Places, tokenise
from retrieval.collections import collection_rowid, text_index
from retrieval.workspace import Workspace

Occurrences: TypeAlias = tuple[Places, NDArray[np.int64]]  # ascending places of texts, and how often in each

# Beyond so many new items, or tokens in them, or such a share of deleted ones, all is read anew.
MOST_NEW = 2_000
MOST_NEW_TOKENS = 100_000
MOST_DEAD = 0.2
MAX_HELD_BYTES = 256 << 20  # of occurrences: whoever asks chooses the terms
_TOKEN_BYTES = 500  # of the Python objects that a token is kept in


class LexicalBatch(Bm25):
    """A collection's texts as they are now, read for searching many queries.

    Holds about 24 bytes for each text that holds a term, of the terms that were asked for. Threads may share
    it.
    """

    def __init__(self, ws: Workspace, collection: str) -> None:
        """Read the lengths of all texts.

        Raises:
            CollectionNotFound: if there is no such collection.
        """
        super().__init__()
        owner = collection_rowid(ws, collection)
        self._ws = ws
        self._collection = collection
        self._table = text_index(owner)
        self._occurrences: dict[str, Occurrences] = {}  # of tokens that were asked for
        self._held_bytes = 0  # by them
        self._rowids, self._lengths = text_lengths(ws, owner)
        ids = dict(ws.fetch("SELECT rowid, id FROM items WHERE collection = ?", (collection,)))
        self._ids: list[str] = [ids.get(rowid, "") for rowid in self._rowids.tolist()]
        # What was deleted since it was read keeps its place, and has no weight.
        self._dead = np.array([not id for id in self._ids], dtype=np.bool_)
        self._last = int(self._rowids[-1]) if len(self._rowids) else 0
        self._items = sum(rowid <= self._last for rowid in ids)  # there were, with the last of these
        self._count()

    def after_writes(self) -> "LexicalBatch | None":
        """Return the texts as they are now; None if so much changed that they are to be read anew.

        Raises:
            CollectionNotFound: if the collection is gone.
        """
        owner = collection_rowid(self._ws, self._collection)
        if text_lengths(self._ws, owner, after=self._last)[1].sum() > MOST_NEW_TOKENS:
            return None
        new = self._ws.fetch(
            "SELECT rowid, id, text FROM items WHERE collection = ? AND rowid > ? ORDER BY rowid LIMIT ?",
            (self._collection, self._last, MOST_NEW + 1),
        )
        if len(new) > MOST_NEW:
            return None
        later = copy(self)
        later._postings = {}  # every weight depends on how many texts there are
        later._add([row for row in new if row[2]])
        later._last = new[-1][0] if new else self._last
        later._items = self._items + len(new)
        (counted,) = self._ws.fetch("SELECT items FROM collections WHERE rowid = ?", (owner,))[0]
        if counted != later._items:
            later._bury()
        later._count()
        return None if later._dead.sum() > MOST_DEAD * len(later._dead) else later

    def within_bounds(self) -> "LexicalBatch":
        """Return itself, or the same without what was asked for if that takes too much memory."""
        if self._held_bytes <= MAX_HELD_BYTES:
            return self
        later = copy(self)
        later._postings, later._occurrences, later._held_bytes = {}, {}, 0
        return later

    def _add(self, new: Sequence[tuple[int, str, str]]) -> None:
        """Add texts, by (rowid, id, text)."""
        tokens = tokenise(text for _, _, text in new)
        added: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for place, (_, _, text) in enumerate(new, len(self._rowids)):
            for token, times in Counter(tokens[text]).items():
                added[token].append((place, times))
        self._occurrences = dict(self._occurrences)
        for token in added.keys() & self._occurrences.keys():
            more = np.array(added[token], dtype=np.int64).T
            self._occurrences[token] = _joined(self._occurrences[token], (more[0], more[1]))
            self._held_bytes += more.nbytes
        lengths = [float(len(tokens[text])) for _, _, text in new]
        self._rowids = np.append(self._rowids, [rowid for rowid, _, _ in new]).astype(np.int64)
        self._lengths = np.append(self._lengths, lengths)
        self._ids = self._ids + [id for _, id, _ in new]
        self._dead = np.append(self._dead, np.zeros(len(new), np.bool_))

    def _bury(self) -> None:
        """Note what was deleted."""
        rows = self._ws.fetch(
            "SELECT group_concat(rowid) FROM items WHERE collection = ?", (self._collection,)
        )
        living = np.sort(np.fromstring(rows[0][0] or "", dtype=np.int64, sep=","))
        living = living[living <= self._last]
        self._dead = ~np.isin(self._rowids, living, assume_unique=True)
        self._items = len(living)

    def _count(self) -> None:
        living = ~self._dead
        self._total = int(living.sum())
        self._mean_length = float(self._lengths[living].sum()) / max(1, self._total)

    def _named(self, places: Places) -> list[tuple[int, str] | None]:
        return [
            (rowid, self._ids[at]) for rowid, at in zip(self._rowids[places].tolist(), places, strict=True)
        ]

    def _places(self, rowids: Sequence[int] | NDArray[np.int64]) -> Places:
        wanted = np.asarray(rowids, dtype=np.int64)
        if not len(self._rowids):
            return np.full(len(wanted), -1)
        places = np.minimum(np.searchsorted(self._rowids, wanted), len(self._rowids) - 1)
        return np.where(self._rowids[places] == wanted, places, -1)

    def _read(self, tokens: set[str]) -> None:
        for token in sorted(tokens - self._occurrences.keys()):
            self._occurrences[token] = read = self._occurrences_of(token)
            self._held_bytes += read[0].nbytes + read[1].nbytes + _TOKEN_BYTES
        for token in tokens:
            places, times = self._occurrences[token]
            if self._total < len(self._dead):
                living = ~self._dead[places]
                places, times = places[living], times[living]
            self._postings[token] = self._weigh(places, times)

    def _occurrences_of(self, token: str) -> Occurrences:
        view = instances_view(self._ws, self._table)
        rows = self._ws.fetch(f"SELECT group_concat(doc) FROM {view} WHERE term = ?", (token,))
        read = np.fromstring(rows[0][0] or "", dtype=np.int64, sep=",")
        rowids, times = np.unique(read, return_counts=True)
        places = self._places(rowids)
        known = places >= 0  # what was written meanwhile is added after that
        return places[known], times[known]


def _joined(one: Occurrences, other: Occurrences) -> Occurrences:
    return np.append(one[0], other[0]), np.append(one[1], other[1])


def text_lengths(ws: Workspace, owner: int, after: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rowids of a collection's items that have text, ascending, and how many tokens each has.

    Args:
        ws: the workspace.
        owner: the collection's rowid.
        after: of items above this rowid.
    """
    sizes = ws.fetch(f"SELECT id, sz FROM {text_index(owner)}_docsize WHERE id > ? ORDER BY id", (after,))
    rowids = np.fromiter((rowid for rowid, _ in sizes), dtype=np.int64, count=len(sizes))
    return rowids, np.fromiter((_varint(size) for _, size in sizes), dtype=np.float64, count=len(sizes))


def instances_view(ws: Workspace, table: str) -> str:
    """Name the view of every occurrence of every token in a full-text table, for this connection."""
    view = f"temp.{table}_terms"
    ws.fetch(f"CREATE VIRTUAL TABLE IF NOT EXISTS {view} USING fts5vocab('main', '{table}', 'instance')")
    return view


def _varint(raw: bytes) -> int:
    """Decode the first of SQLite's variable-length integers, for values below 2^56."""
    value = 0
    for byte in raw:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value
