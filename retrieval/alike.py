"""Queries that differ only in their vector, and ask for nothing but items and scores: answered as arrays.

Nearly all queries are such, and a server meets them in batches. An object for each query and each hit
would cost several times what looking at all of them at once does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import TwinspireError
from retrieval.index import NO_KEY, Neighbors
from retrieval.search import Row, SearchResult

FindRows: TypeAlias = Callable[[Sequence[int]], Mapping[int, Row | None]]


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
    nearest: Neighbors, scores: NDArray[np.float64], limit: int, find_rows: FindRows
) -> tuple[list[int], list[int], list[Row]]:
    """Choose the hits of the queries that have as many as the limit says among their nearest segments.

    Args:
        nearest: of each query, more than `limit` of them.
        scores: of these, rounded, shape (n, more than limit).
        limit: hits for each query.
        find_rows: returns a mapping that has these keys at least; None for a dead one.

    Returns:
        The places of these queries, ascending; and for each of their hits, best first, the place of its score
        among all scores, counted through, and its row.
    """
    width = scores.shape[1]
    plain = ~((scores[:, 1:] == scores[:, :-1]).any(axis=1) | (nearest.keys[:, -1] == NO_KEY))
    keys = nearest.keys.ravel().tolist()
    known = find_rows([key for key in keys if key != NO_KEY])
    rows = [known.get(key) for key in keys]
    places: list[int] = []
    cells: list[int] = []
    kept: list[Row] = []
    for place, is_plain in enumerate(plain.tolist()):
        first = place * width
        chosen: Sequence[int] = range(first, first + limit)
        own = rows[first : first + limit]
        if not is_plain or None in own or len({row.id for row in own if row is not None}) < limit:
            closer = _closer_look(rows[first : first + width], scores[place].tolist(), limit)
            if closer is None:
                continue
            chosen = [first + at for at in closer]
            own = [rows[at] for at in chosen]
        places.append(place)
        cells += chosen
        kept += cast(list[Row], own)  # none is missing
    return places, cells, kept


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
