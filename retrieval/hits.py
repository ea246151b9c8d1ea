"""From the nearest segments of one query to the items that it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.diversity import pick_diverse
from retrieval.index import Keys, Vectors
from retrieval.row_cache import Row
from retrieval.search import MAX_LIMIT, Hit, VectorQuery

# Ties are broken by id, so all that tie with the last hit must be seen; but not without end.
MAX_TIED = 4 * MAX_LIMIT


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may become the hits of one query, best first; arrays of one length."""

    keys: Keys
    scores: NDArray[np.float64]
    complete: bool  # no more would be found by looking further
    plan: str  # how they were found
    cosines: NDArray[np.float64] | None = None  # where scores are fused; NaN = no vector
    lexical: NDArray[np.float64] | None = None  # likewise; 0 = no word in common


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
    scores = candidates.scores
    if candidates.complete or not len(scores):
        return not candidates.complete
    if len(chosen) < query.limit:
        return query.score_threshold is None or bool(scores[-1] >= query.score_threshold)
    tied = bool(scores[chosen[query.limit - 1]] == scores[-1])
    return tied and len(scores) < MAX_TIED and candidates.lexical is None


def choose_hits(query: VectorQuery, candidates: Candidates, rows: Mapping[int, Row | None]) -> list[int]:
    """Choose the candidates to show: alive, wanted, the best segment of each item; ties by id.

    Returns:
        Places among the candidates; more than the limit if hits are to be diverse.
    """
    wanted = query.limit if query.diversity is None else len(candidates.keys)
    keys, scores = candidates.keys.tolist(), candidates.scores.tolist()
    places: Sequence[int] = range(len(keys))
    if candidates.lexical is None and any(above == below for above, below in pairwise(scores)):
        places = sorted(places, key=lambda place: (-scores[place], _id_bytes(rows[keys[place]])))
    least = query.score_threshold
    seen = set(query.exclude_ids)
    chosen: list[int] = []
    for place in places:
        row = rows[keys[place]]
        if row is None or row.id in seen:
            continue
        if least is not None and scores[place] < least:
            break
        seen.add(row.id)
        chosen.append(place)
        if len(chosen) == wanted:
            break
    return chosen


def _id_bytes(row: Row | None) -> bytes:
    return b"" if row is None else row.id.encode()


def make_hits(
    source: Source,
    query: VectorQuery,
    candidates: Candidates,
    chosen: Sequence[int],
    rows: Mapping[int, Row | None],
) -> list[Hit]:
    """Make the hits that a query is shown."""
    if query.diversity is not None and len(chosen) > 1:
        chosen = _diverse(source, query, candidates, chosen)
    keys, scores = candidates.keys, candidates.scores.tolist()
    vectors = _vectors(source, keys[list(chosen)]) if query.with_vector else {}
    mask = None if query.attribute_mask is None else frozenset(query.attribute_mask)
    hits = []
    for rank, place in enumerate(chosen, start=1):
        key = int(keys[place])
        row = rows[key]
        assert row is not None
        attributes = row.attributes
        if mask is not None:
            attributes = {name: value for name, value in attributes.items() if name in mask}
        hits.append(
            Hit(
                id=row.id,
                score=scores[place],
                rank=rank,
                modality=row.modality,
                text=row.text,
                uri=row.uri,
                attributes=attributes,
                span=row.span,
                vector=vectors.get(key),
                explanation=_explain(source, candidates, place) if query.explain else None,
            )
        )
    return hits


def _diverse(
    source: Source, query: VectorQuery, candidates: Candidates, chosen: Sequence[int]
) -> Sequence[int]:
    assert query.diversity is not None
    keys = candidates.keys[list(chosen)]
    there = source.has_vectors(keys)
    kept = [place for place, has in zip(chosen, there, strict=True) if has]
    relevance = candidates.scores[kept]
    if candidates.lexical is not None and len(kept):  # fused scores have a unit of their own
        spread = np.ptp(relevance)
        relevance = (relevance - relevance.min()) / spread if spread else np.ones(len(kept))
    picked = pick_diverse(relevance, source.vectors(keys[there]), query.limit, query.diversity.weight)
    return [kept[place] for place in picked]


def _vectors(source: Source, keys: Keys) -> dict[int, Vectors]:
    there = keys[source.has_vectors(keys)]
    return dict(zip(there.tolist(), source.vectors(there), strict=True))


def _explain(source: Source, candidates: Candidates, place: int) -> Mapping[str, Any]:
    """Say how a hit came about."""
    key = int(candidates.keys[place])
    told: dict[str, Any] = {
        "index_version": source.version,
        "plan": candidates.plan,
        "segment": key,
        "fresh": key > source.built_key,
    }
    if candidates.cosines is None or candidates.lexical is None:
        return told | {"cosine": float(candidates.scores[place])}
    cosine = float(candidates.cosines[place])
    return told | {
        "cosine": None if np.isnan(cosine) else cosine,
        "bm25": float(candidates.lexical[place]),
        "fused": float(candidates.scores[place]),
    }
