"""Queries that differ only in their vector, and ask for nothing but items and scores: answered as arrays.

Nearly all queries are such, and a server meets them in batches. An object for each query and each hit
would cost several times what looking at all of them at once does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import TwinspireError
from retrieval.index import NO_KEY, Neighbors
from retrieval.search import Row, SearchResult

FindRows: TypeAlias = Callable[[Sequence[int]], Mapping[int, Row | None]]


@dataclass(slots=True)
class AlikeAnswer:
    """The answers to queries that are alike.

    Most are regular: they have as many hits as the limit says. Theirs lie one behind the other.
    """

    regular: Sequence[int]  # their places among the queries, ascending, m of them
    rows: Sequence[Row]  # m * limit, best first for each query
    scores: NDArray[np.float64]  # shape (m, limit)
    others: Mapping[int, SearchResult | TwinspireError]  # by place
    search_ms: float
    fetch_ms: float


def regular_queries(
    nearest: Neighbors, scores: NDArray[np.float64], limit: int, find_rows: FindRows
) -> tuple[list[int], list[Row]]:
    """Find the queries whose nearest segments are their hits, just as they are.

    These have no ties, which ids would have to break, no dead segments, and no item twice.

    Args:
        nearest: of each query, at least `limit` of them.
        scores: of these, rounded, shape (n, at least limit).
        limit: hits for each query.
        find_rows: returns a mapping that has these keys at least; None for a dead one.

    Returns:
        Their places, ascending, and their rows, `limit` for each.
    """
    odd = (scores[:, 1:] == scores[:, :-1]).any(axis=1) | (nearest.keys[:, limit - 1] == NO_KEY)
    likely = np.flatnonzero(~odd)
    keys = nearest.keys[likely, :limit].ravel().tolist()
    known = find_rows(keys)
    rows = [known[key] for key in keys]
    places: list[int] = []
    kept: list[Row] = []
    for number, place in enumerate(likely.tolist()):
        own = [row for row in rows[number * limit : (number + 1) * limit] if row is not None]
        if len({row.id for row in own}) == limit:
            places.append(place)
            kept += own
    return places, kept
