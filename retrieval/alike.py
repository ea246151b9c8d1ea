"""Queries that differ only in their vector, and ask for nothing but items and scores: answered as arrays.

Nearly all queries are such, and a server meets them in batches. An object for each query and each hit
would cost several times what looking at all of them at once does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import TwinspireError
from retrieval.index import Neighbors
from retrieval.row_cache import RowCache
from retrieval.search import Row, SearchResult


@dataclass(slots=True)
class AlikeAnswer:
    """The answers to queries that are alike.

    Most are regular: the nearest segments hold as many hits as the limit says. Theirs lie one behind the
    other.
    """

    regular: Sequence[int]  # their places among the queries, ascending, m of them
    rows: Sequence[Row]  # m * limit, best first for each query
    scores: NDArray[np.float64]  # shape (m, limit)
    others: Mapping[int, SearchResult | TwinspireError]  # by place
    search_ms: float
    fetch_ms: float


def regular_queries(
    nearest: Neighbors, limit: int, cache: RowCache
) -> tuple[list[int], NDArray[np.int64], list[Row]]:
    """Choose the hits of the queries that have as many as the limit says among their nearest segments.

    Args:
        nearest: of each query, more than `limit` of them.
        limit: hits for each query.
        cache: tells the rows of keys.

    Returns:
        The places of these queries, ascending, m of them; the places of their hits' scores among all scores,
        counted through, best first, shape (m, limit); and the rows of these hits, m * limit.
    """
    count, width = nearest.keys.shape
    rows = cache.in_order(nearest.keys[:, :limit].ravel().tolist())
    cells = np.arange(count)[:, None] * width + np.arange(limit)
    odd = set(np.flatnonzero((nearest.scores[:, 1:] == nearest.scores[:, :-1]).any(axis=1)).tolist())
    if None in rows:
        odd.update(at // limit for at, row in enumerate(rows) if row is None)
    if cache.has_spans:
        odd.update(place for place in range(count) if not _all_differ(rows[place * limit :][:limit]))
    left_out: set[int] = set()
    for place in odd:
        near = cache.in_order(nearest.keys[place].tolist())
        closer = _closer_look(near, nearest.scores[place].tolist(), limit)
        if closer is None:
            left_out.add(place)
        else:
            cells[place] = np.add(closer, place * width)
            rows[place * limit : (place + 1) * limit] = [near[at] for at in closer]
    if not left_out:
        return list(range(count)), cells, cast(list[Row], rows)  # none is missing
    places = [place for place in range(count) if place not in left_out]
    kept = [row for place in places for row in rows[place * limit : (place + 1) * limit]]
    return places, cells[places], cast(list[Row], kept)


def _all_differ(rows: Sequence[Row | None]) -> bool:
    return len({row.id for row in rows if row is not None}) == len(rows)


def _closer_look(rows: Sequence[Row | None], scores: Sequence[float], limit: int) -> list[int] | None:
    """Choose among segments of which some tie, are dead, or belong to one item.

    Returns:
        Their places, best first, ties by id; None if more segments have to be looked at.
    """
    living = [at for at, row in enumerate(rows) if row is not None]
    living.sort(key=lambda at: (-scores[at], _id_bytes(rows[at])))
    chosen: dict[str, int] = {}
    for at in living:
        row = rows[at]
        if row is not None:
            chosen.setdefault(row.id, at)
    if len(chosen) < limit:
        return None
    places = list(chosen.values())[:limit]
    return None if scores[places[-1]] == scores[-1] else places


def _id_bytes(row: Row | None) -> bytes:
    return b"" if row is None else row.id.encode()
