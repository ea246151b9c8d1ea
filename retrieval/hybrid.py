"""Hybrid candidates: both sides of a query gathered, each scored by both measures, then fused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import Unavailable
from retrieval.filters import Filter
from retrieval.fusion import LearnedFusion, fuse, order_fused
from retrieval.hits import Candidates
from retrieval.index import NO_KEY, Keys, Neighbors, Vectors
from retrieval.search import Fusion


@dataclass(frozen=True, slots=True)
class Sides:
    """The candidates of one query, one for each item; arrays of one length."""

    keys: Keys  # of the item's nearest segment
    ids: Sequence[str]
    cosines: NDArray[np.float64]  # NaN where the item has no vector
    lexical: NDArray[np.float64]  # BM25; 0 where no word is shared
    dense: NDArray[np.bool_]  # found by its vector
    complete: bool


class HybridSource(Protocol):
    """What hybrid search needs of a searcher."""

    def known_vectors(self, keys: Keys) -> tuple[Keys, Vectors]:
        """Return those of these keys that have a stored vector, and the vectors."""
        ...

    def owners(self, keys: Sequence[int]) -> Mapping[int, tuple[int, str] | None]:
        """Return item rowid and id of each segment; None of those that are dead."""
        ...

    def segments_of(self, items: Sequence[int]) -> Mapping[int, Sequence[int]]:
        """Return the segments' keys of each item."""
        ...

    def lexical_search(
        self, texts: Sequence[str], limit: int, filter: Filter | None
    ) -> list[list[tuple[int, str, float]]]:
        """Find the items that fit each text best by BM25."""
        ...

    def lexical_scores(self, texts: Sequence[str], items: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        """Score given items for each text by BM25."""
        ...


def gather_sides(
    source: HybridSource,
    texts: Sequence[str],
    queries: Vectors,
    nearest: Neighbors,
    depth: int,
    filter: Filter | None,
) -> list[Sides]:
    """Gather what either side found, and score it by the other side's measure too.

    Args:
        source: a searcher.
        texts: for BM25, one per query.
        queries: unit rows, shape (n, dims).
        nearest: the dense side, of shape (n, depth).
        depth: candidates of each side.
        filter: of all queries.
    """
    lexical = source.lexical_search(texts, depth, filter)
    owners = source.owners(np.unique(nearest.keys[nearest.keys != NO_KEY]).tolist())
    dense = [_best_segments(nearest, row, owners) for row in range(len(texts))]
    dense_only = [
        sorted(found.keys() - {rowid for rowid, _, _ in hits})
        for found, hits in zip(dense, lexical, strict=True)
    ]
    scores = source.lexical_scores(texts, dense_only)
    lexical_only = [
        [rowid for rowid, _, _ in hits if rowid not in found]
        for found, hits in zip(dense, lexical, strict=True)
    ]
    beside_items = sorted({rowid for rowids in lexical_only for rowid in rowids})
    segments = source.segments_of(beside_items)
    known = _vectors_of(source, [segments.get(rowid, ()) for rowid in beside_items], nearest.partial)
    sides = []
    for row in range(len(texts)):
        beside = _nearest_segments(known, queries[row], lexical_only[row], segments)
        complete = len(lexical[row]) < depth and bool((nearest.keys[row] == NO_KEY).any())
        sides.append(_join(dense[row], lexical[row], scores[row], beside, complete))
    return sides


def _vectors_of(
    source: HybridSource, segments: Sequence[Sequence[int]], partial: bool
) -> tuple[Keys, Vectors]:
    """Read the vectors of all these segments at once: those that have one, ascending, and the rows."""
    keys = np.unique(np.array([key for own in segments for key in own], dtype=np.int64))
    if len(keys):
        try:
            return source.known_vectors(keys)
        except Unavailable:
            if not partial:
                raise
    return keys[:0], np.empty((0, 0), np.float32)  # there are none, or they are in the part that is away


_Dense = dict[int, tuple[int, str, float]]  # item rowid -> key of its nearest segment, id, cosine


def _best_segments(nearest: Neighbors, row: int, owners: Mapping[int, tuple[int, str] | None]) -> _Dense:
    found: _Dense = {}
    for key, cosine in zip(nearest.keys[row].tolist(), nearest.scores[row].tolist(), strict=True):
        owner = owners.get(key)
        if owner is not None and owner[0] not in found:
            found[owner[0]] = (key, owner[1], cosine)
    return found


def _nearest_segments(
    known: tuple[Keys, Vectors],
    query: Vectors,
    items: Sequence[int],
    segments: Mapping[int, Sequence[int]],
) -> dict[int, tuple[int, float]]:
    """Find the nearest segment of each item: its key and cosine, NaN if the item has no vector."""
    pairs = [(rowid, key) for rowid in items for key in segments.get(rowid, ())]
    if not pairs:
        return {}
    keys = np.array([key for _, key in pairs], dtype=np.int64)
    cosines = np.full(len(keys), np.nan)
    if len(known[0]):
        places = np.minimum(np.searchsorted(known[0], keys), len(known[0]) - 1)
        there = known[0][places] == keys
        cosines[there] = known[1][places[there]] @ query
    best: dict[int, tuple[int, float]] = {}
    for (rowid, key), cosine in zip(pairs, cosines.tolist(), strict=True):
        if rowid not in best or not cosine <= best[rowid][1]:  # anything is better than NaN
            if rowid in best and np.isnan(cosine):
                continue
            best[rowid] = (key, cosine)
    return best


def _join(
    dense: _Dense,
    lexical: Sequence[tuple[int, str, float]],
    scores: dict[int, float],
    beside: dict[int, tuple[int, float]],
    complete: bool,
) -> Sides:
    bm25 = {rowid: score for rowid, _, score in lexical} | scores
    rows = [(key, id, cosine, bm25.get(rowid, 0.0), True) for rowid, (key, id, cosine) in dense.items()]
    rows += [(*_placed(id, beside[rowid]), score, False) for rowid, id, score in lexical if rowid in beside]
    return Sides(
        keys=np.array([row[0] for row in rows], dtype=np.int64),
        ids=[row[1] for row in rows],
        cosines=np.array([row[2] for row in rows], dtype=np.float64).round(6),
        lexical=np.array([row[3] for row in rows], dtype=np.float64),
        dense=np.array([row[4] for row in rows], dtype=np.bool_),
        complete=complete,
    )


def _placed(id: str, segment: tuple[int, float]) -> tuple[int, str, float]:
    return segment[0], id, segment[1]


def fuse_sides(sides: Sides, fusion: Fusion, learned: LearnedFusion, plan: str) -> Candidates:
    """Order the candidates of one query by their fused scores."""
    scores = fuse(fusion, learned, sides.cosines, sides.lexical, sides.dense)
    order = order_fused(scores, sides.cosines, sides.lexical, sides.ids)
    return Candidates(
        keys=sides.keys[order].tolist(),
        scores=scores[order].tolist(),
        complete=sides.complete,
        plan=f"{plan} + bm25",
        cosines=sides.cosines[order],
        lexical=sides.lexical[order],
    )
