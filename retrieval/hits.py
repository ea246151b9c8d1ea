"""From the nearest segments of one query to the items that it is shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.content import Modality
from retrieval.diversity import pick_diverse
from retrieval.index import Keys, Vectors
from retrieval.search import MAX_LIMIT, Hit, Row, VectorQuery, hits_of

# Ties are broken by id, so all that tie with the last hit must be seen; but not without end.
MAX_TIED = 4 * MAX_LIMIT
# Windows of a sound or video that begin less than this apart are the same moment.
SAME_MOMENT_S = 5.0


@dataclass(slots=True)
class Candidates:
    """What may become the hits of one query, best first; lists and arrays of one length."""

    keys: list[int]
    scores: list[float]
    complete: bool  # no more would be found by looking further
    plan: str  # how they were found
    tied: bool = False  # two that follow each other score the same, so that ids decide
    cosines: NDArray[np.float64] | None = None  # where scores are fused; NaN = no vector
    lexical: NDArray[np.float64] | None = None  # likewise; 0 = no word in common
    partial: bool = False  # some part of the index did not answer
    measure: str = "cosine"  # what `scores` are, where they are not fused


class Source(Protocol):
    """Where candidates come from."""

    @property
    def version(self) -> str:
        """The index version."""
        ...

    @property
    def built_key(self) -> int:
        """Keys above it are fresh."""
        ...

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys."""
        ...

    def has_vectors(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys have a stored vector."""
        ...


def needs_more(query: VectorQuery, candidates: Candidates, chosen: Sequence[int]) -> bool:
    """Tell whether looking further may change the hits: too few are left, or the last is tied."""
    if candidates.complete:
        return False
    scores = candidates.scores
    if len(chosen) < query.limit:
        return not scores or query.score_threshold is None or scores[-1] >= query.score_threshold
    if not candidates.tied or len(scores) > MAX_TIED:
        return False
    return scores[chosen[query.limit - 1]] == scores[-1]


def choose_hits(query: VectorQuery, candidates: Candidates, rows: Mapping[int, Row | None]) -> Sequence[int]:
    """Choose the candidates to show: alive, wanted, the best segment of each item; ties by id.

    Returns:
        Places among the candidates; more than the limit if hits are to be diverse.
    """
    wanted = query.limit if query.diversity is None else len(candidates.keys)
    keys, scores = candidates.keys, candidates.scores
    places: Sequence[int] = range(len(keys))
    if candidates.tied:
        places = sorted(places, key=lambda place: (-scores[place], _id_bytes(rows[keys[place]])))
    least = -math.inf if query.score_threshold is None else query.score_threshold
    shown: dict[str, list[Row]] = {}
    chosen: list[int] = []
    for place in places:
        row = rows[keys[place]]
        if row is None or row.id in query.exclude_ids or not _is_new(row, shown.get(row.id), query.moments):
            continue
        if scores[place] < least:
            break
        shown.setdefault(row.id, []).append(row)
        chosen.append(place)
        if len(chosen) == wanted:
            break
    return chosen


def _is_new(row: Row, shown: Sequence[Row] | None, moments: int) -> bool:
    """Tell whether a part of an item is to be shown beside those that are shown already."""
    if not shown:
        return True
    if len(shown) >= moments or row.span is None:
        return False
    return not any(_is_same_moment(row, other) for other in shown)


def _is_same_moment(row: Row, other: Row) -> bool:
    if row.span is None or other.span is None:
        return False
    if row.modality == Modality.TEXT:
        return row.span[0] < other.span[1] and other.span[0] < row.span[1]
    return abs(row.span[0] - other.span[0]) < SAME_MOMENT_S


def _id_bytes(row: Row | None) -> bytes:
    return b"" if row is None else row.id.encode()


def show(
    source: Source,
    query: VectorQuery,
    candidates: Candidates,
    chosen: Sequence[int],
    rows: Mapping[int, Row | None],
) -> tuple[list[Row], list[float], list[Hit] | None]:
    """Return the rows that a query is shown, their scores, and hits if it asks for more than rows hold."""
    if query.diversity is not None and len(chosen) > 1:
        chosen = _diverse(source, query, candidates, chosen)
    keys, scores = candidates.keys, candidates.scores
    shown = [row for place in chosen if (row := rows[keys[place]]) is not None]
    shown_scores = [scores[place] for place in chosen]
    if not (query.with_vector or query.explain or query.attribute_mask is not None):
        return shown, shown_scores, None
    hits = hits_of(shown, shown_scores)
    _add_extras(source, query, candidates, chosen, hits)
    return shown, shown_scores, hits


def _add_extras(
    source: Source, query: VectorQuery, candidates: Candidates, chosen: Sequence[int], hits: Sequence[Hit]
) -> None:
    """Fill in what few queries ask for."""
    keys = np.array([candidates.keys[place] for place in chosen], dtype=np.int64)
    there = keys[source.has_vectors(keys)] if query.with_vector else keys[:0]
    vectors = dict(zip(there.tolist(), source.vectors(there), strict=True))
    for place, key, hit in zip(chosen, keys.tolist(), hits, strict=True):
        hit.vector = vectors.get(key)
        if query.explain:
            hit.explanation = _explain(source, candidates, place)
        if query.attribute_mask is not None:
            mask = query.attribute_mask
            hit.attributes = {name: value for name, value in hit.attributes.items() if name in mask}


def _diverse(
    source: Source, query: VectorQuery, candidates: Candidates, chosen: Sequence[int]
) -> Sequence[int]:
    assert query.diversity is not None
    keys = np.array([candidates.keys[place] for place in chosen], dtype=np.int64)
    there = source.has_vectors(keys)
    kept = [place for place, has in zip(chosen, there, strict=True) if has]
    relevance = np.array([candidates.scores[place] for place in kept])
    own_unit = candidates.lexical is not None or candidates.measure != "cosine"
    if own_unit and len(kept):
        spread = np.ptp(relevance)
        relevance = (relevance - relevance.min()) / spread if spread else np.ones(len(kept))
    picked = pick_diverse(relevance, source.vectors(keys[there]), query.limit, query.diversity.weight)
    return [kept[place] for place in picked]


def _explain(source: Source, candidates: Candidates, place: int) -> Mapping[str, Any]:
    """Say how a hit came about."""
    key = candidates.keys[place]
    told: dict[str, Any] = {
        "index_version": source.version,
        "plan": candidates.plan,
        "segment": key,
        "fresh": key > source.built_key,
    }
    if candidates.cosines is None or candidates.lexical is None:
        return told | {"cosine": None, candidates.measure: candidates.scores[place]}
    cosine = float(candidates.cosines[place])
    return told | {
        "cosine": None if np.isnan(cosine) else cosine,
        "bm25": float(candidates.lexical[place]),
        "fused": candidates.scores[place],
    }
