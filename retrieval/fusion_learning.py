"""Learns, for one collection and one encoder, how much vectors may move BM25's order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.fusion import MIN_DEPTH, Floats, tie_breakers, with_farthest
from retrieval.hybrid import HybridSource, Sides, gather_sides
from retrieval.index import Neighbors, Vectors
from retrieval.judgements import JudgedQuery

# Weights to try, as shares of the median best BM25 score. A cosine differs by about a fifth between good
# and bad candidates, so these reach from breaking ties to overruling BM25.
SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4, 4.0, 8.0, 20.0)

DEPTH = 10  # of the metrics
BATCH = 128
MIN_QUERIES = 20  # fewer tell nothing

EncodeQueries: TypeAlias = Callable[[Sequence[str]], Vectors]


class LearningSource(HybridSource, Protocol):
    """What learning needs of a searcher."""

    def nearest(self, vectors: Vectors, limit: int) -> Neighbors:
        """Find the nearest segments."""
        ...


@dataclass(frozen=True, slots=True)
class _Examples:
    """The candidates of n queries, at most c of each, and the m relevant ones among them.

    A weight is judged by the ranks of the relevant ones alone: nothing is sorted.
    """

    lexical: Floats  # (n, c); -inf beyond the candidates of a query
    cosines: Floats  # (n, c); what has no vector is as far as the farthest
    rows: NDArray[np.int64]  # (m,): the query of each relevant one
    places: NDArray[np.int64]  # (m,): its candidate
    grades: Floats  # (m,)
    wins_ties: NDArray[np.bool_]  # (m, c): which candidates precede it at equal scores
    ideals: Floats  # (n,): the highest discounted gain that any order of the whole collection has


def learn_fusion(
    source: LearningSource, encode_queries: EncodeQueries, queries: Sequence[JudgedQuery]
) -> dict[str, Any]:
    """Find the weight that improves on BM25 most surely.

    A weight is judged by its mean gain over BM25 alone (in the mean of MRR@10 and nDCG@10), less the gain's
    standard error. If none is above zero, the weight is 0, which keeps BM25's order: the hybrid cannot be
    expected to fall below BM25.

    Args:
        source: a searcher over the version that the weight is for.
        encode_queries: texts to unit rows.
        queries: validation queries. Never those of the test, nor any that the encoder was trained on.

    Returns:
        JSON for the manifest: the weight, and the metrics with and without it. Empty without enough queries.
    """
    judged = [query for query in queries if any(grade > 0 for grade in query.grades.values())]
    if len(judged) < MIN_QUERIES:
        return {}
    sides = [
        side
        for start in range(0, len(judged), BATCH)
        for side in _sides(source, encode_queries, judged[start : start + BATCH])
    ]
    tops = [side.lexical.max() for side in sides if len(side.lexical)]
    scale = float(np.median(tops)) if tops else 0.0
    examples = _examples(sides, judged)
    base = _metrics(examples, 0.0)
    best_weight, best_bound, best = 0.0, 0.0, base
    for share in SHARES:
        metrics = _metrics(examples, share * scale)
        gains = (metrics - base).mean(axis=1)
        bound = float(gains.mean() - gains.std() / len(gains) ** 0.5)
        if bound > best_bound and metrics[:, 0].mean() >= base[:, 0].mean():
            best_weight, best_bound, best = share * scale, bound, metrics
    dense = _metrics(examples, 1e6 * max(scale, 1.0))
    return _report(best_weight, scale, len(judged), base, best, dense)


def _report(
    weight: float, scale: float, queries: int, base: Floats, best: Floats, dense: Floats
) -> dict[str, Any]:
    gain = best[:, 0] - base[:, 0]
    return {
        "weight": round(weight, 6),
        "alpha": round(weight / (weight + scale), 4) if weight else 0.0,
        "queries": queries,
        "metrics": _means(best),
        "bm25": _means(base),
        "dense": _means(dense),
        "gain": round(float(gain.mean()), 5),
        "gain_standard_error": round(float(gain.std() / queries**0.5), 5),
    }


def _means(metrics: Floats) -> dict[str, float]:
    return {
        "MRR@10": round(float(metrics[:, 0].mean()), 5),
        "nDCG@10": round(float(metrics[:, 1].mean()), 5),
    }


def _sides(
    source: LearningSource, encode_queries: EncodeQueries, queries: Sequence[JudgedQuery]
) -> list[Sides]:
    texts = [query.text for query in queries]
    vectors = encode_queries(texts)
    return gather_sides(source, texts, vectors, source.nearest(vectors, MIN_DEPTH), MIN_DEPTH, None)


def _examples(sides: Sequence[Sides], queries: Sequence[JudgedQuery]) -> _Examples:
    shape = len(sides), max(len(side.ids) for side in sides)
    lexical, cosines = np.full(shape, -np.inf), np.zeros(shape)
    relevant: list[tuple[int, int, float]] = []
    wins_ties = []
    for row, (side, query) in enumerate(zip(sides, queries, strict=True)):
        count = len(side.ids)
        lexical[row, :count], cosines[row, :count] = side.lexical, with_farthest(side.cosines)
        nearness, ranks = tie_breakers(side.cosines, side.lexical, side.ids)
        for place in (place for place, id in enumerate(side.ids) if query.grades.get(id, 0) > 0):
            relevant.append((row, place, float(query.grades[side.ids[place]])))
            nearer, equal = nearness > nearness[place], nearness == nearness[place]
            first = np.zeros(shape[1], dtype=np.bool_)
            first[:count] = nearer | (equal & (ranks < ranks[place]))
            wins_ties.append(first)
    rows, places, grades = zip(*relevant, strict=True) if relevant else ((), (), ())
    return _Examples(
        lexical=lexical,
        cosines=cosines,
        rows=np.array(rows, dtype=np.int64),
        places=np.array(places, dtype=np.int64),
        grades=np.array(grades, dtype=np.float64),
        wins_ties=np.array(wins_ties, dtype=np.bool_).reshape(len(relevant), shape[1]),
        ideals=np.array([_ideal(query) for query in queries]),
    )


def _metrics(examples: _Examples, weight: float) -> Floats:
    """Return MRR@10 and nDCG@10 of each query under a weight, shape (n, 2)."""
    scores = examples.lexical + weight * examples.cosines
    rivals, own = scores[examples.rows], scores[examples.rows, examples.places][:, None]
    ahead = (rivals > own) | ((rivals == own) & examples.wins_ties)
    ranks = 1 + np.count_nonzero(ahead, axis=1)
    shown = ranks <= DEPTH
    metrics = np.zeros((len(scores), 2))
    np.maximum.at(metrics[:, 0], examples.rows[shown], 1 / ranks[shown])
    np.add.at(metrics[:, 1], examples.rows[shown], examples.grades[shown] / np.log2(1 + ranks[shown]))
    metrics[:, 1] /= examples.ideals
    return metrics


def _ideal(query: JudgedQuery) -> float:
    grades = sorted((grade for grade in query.grades.values() if grade > 0), reverse=True)[:DEPTH]
    return float((grades / np.log2(np.arange(2, len(grades) + 2))).sum())
