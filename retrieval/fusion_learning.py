"""Learns, for one collection and one encoder, how much vectors may move BM25's order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.fusion import MIN_DEPTH, Floats, LearnedFusion, fuse, id_ranks, order_by_ranks
from retrieval.hybrid import HybridSource, Sides, gather_sides
from retrieval.index import Neighbors, Vectors
from retrieval.judgements import JudgedQuery
from retrieval.search import LinearFusion

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
class _Example:
    sides: Sides
    ranks: NDArray[np.int64]  # of the candidates' ids
    grades: Floats  # of each candidate
    ideal: float  # the highest discounted gain that any order of the whole collection has


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
    examples = [
        example
        for start in range(0, len(judged), BATCH)
        for example in _examples(source, encode_queries, judged[start : start + BATCH])
    ]
    tops = [example.sides.lexical.max() for example in examples if len(example.sides.lexical)]
    scale = float(np.median(tops)) if tops else 0.0
    base = _metrics(examples, 0.0)
    best_weight, best_bound, best = 0.0, 0.0, base
    for share in SHARES:
        metrics = _metrics(examples, share * scale)
        gains = (metrics - base).mean(axis=1)
        bound = float(gains.mean() - gains.std() / len(gains) ** 0.5)
        if bound > best_bound and metrics[:, 0].mean() >= base[:, 0].mean():
            best_weight, best_bound, best = share * scale, bound, metrics
    dense = _metrics(examples, 1e6 * max(scale, 1.0))
    return _report(best_weight, scale, len(examples), base, best, dense)


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


def _examples(
    source: LearningSource, encode_queries: EncodeQueries, queries: Sequence[JudgedQuery]
) -> list[_Example]:
    texts = [query.text for query in queries]
    vectors = encode_queries(texts)
    sides = gather_sides(source, texts, vectors, source.nearest(vectors, MIN_DEPTH), MIN_DEPTH, None)
    examples = []
    for query, side in zip(queries, sides, strict=True):
        grades = np.array([query.grades.get(id, 0) for id in side.ids], dtype=np.float64)
        ideal = sorted((grade for grade in query.grades.values() if grade > 0), reverse=True)[:DEPTH]
        best = _discounted(np.array(ideal, dtype=np.float64))
        examples.append(_Example(side, id_ranks(side.ids), grades, best))
    return examples


def _metrics(examples: Sequence[_Example], weight: float) -> Floats:
    """Return MRR@10 and nDCG@10 of each query under a weight, shape (n, 2)."""
    metrics = np.zeros((len(examples), 2))
    learned = LearnedFusion(weight)
    for row, example in enumerate(examples):
        sides = example.sides
        scores = fuse(LinearFusion(), learned, sides.cosines, sides.lexical, sides.dense)
        order = order_by_ranks(scores, sides.cosines, sides.lexical, example.ranks)[:DEPTH]
        grades = example.grades[order]
        relevant = np.flatnonzero(grades > 0)
        metrics[row, 0] = 1 / (1 + relevant[0]) if len(relevant) else 0.0
        metrics[row, 1] = _discounted(grades) / example.ideal
    return metrics


def _discounted(grades: Floats) -> float:
    return float((grades / np.log2(np.arange(2, len(grades) + 2))).sum())
