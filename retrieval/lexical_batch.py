"""BM25 for many queries at once, over all items: what `lexical_search` approximates, and faster.

FTS5 visits every match of every query, so `lexical_search` lets the rarer terms choose candidates. Here the
postings of all queries' terms are read once, and each query adds its terms' weights in numpy: nothing is left
out, and the scores are those of `lexical_scores`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.bm25 import Bm25, Places
from retrieval.collections import collection_rowid, text_index
from retrieval.workspace import Workspace


class LexicalBatch(Bm25):
    """A collection's texts as they are now, read for searching many queries.

    Holds about 12 bytes for each occurrence of a term that was asked for.
    """

    def __init__(self, ws: Workspace, collection: str) -> None:
        """Read the lengths of all texts.

        Raises:
            CollectionNotFound: if there is no such collection.
        """
        super().__init__()
        owner = collection_rowid(ws, collection)
        self._ws = ws
        self._table = text_index(owner)
        self._rowids, self._lengths = text_lengths(ws, owner)
        self._total = len(self._rowids)
        self._mean_length = float(self._lengths.sum()) / max(1, self._total)
        ids = dict(ws.fetch("SELECT rowid, id FROM items WHERE collection = ?", (collection,)))
        self._ids: list[str] = [ids.get(rowid, "") for rowid in self._rowids.tolist()]

    def _named(self, places: Places) -> list[tuple[int, str] | None]:
        return [
            (rowid, self._ids[at]) for rowid, at in zip(self._rowids[places].tolist(), places, strict=True)
        ]

    def _places(self, rowids: Sequence[int]) -> Places:
        wanted = np.asarray(rowids, dtype=np.int64)
        if not len(self._rowids):
            return np.full(len(wanted), -1)
        places = np.minimum(np.searchsorted(self._rowids, wanted), len(self._rowids) - 1)
        return np.where(self._rowids[places] == wanted, places, -1)

    def _read(self, tokens: set[str]) -> None:
        view = instances_view(self._ws, self._table)
        for token in sorted(tokens):
            rows = self._ws.fetch(f"SELECT group_concat(doc) FROM {view} WHERE term = ?", (token,))
            rowids = np.fromstring(rows[0][0] or "", dtype=np.int64, sep=",")
            self._postings[token] = self._weigh(
                *np.unique(np.searchsorted(self._rowids, rowids), return_counts=True)
            )


def text_lengths(ws: Workspace, owner: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rowids of a collection's items that have text, ascending, and how many tokens each has."""
    sizes = ws.fetch(f"SELECT id, sz FROM {text_index(owner)}_docsize ORDER BY id")
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
