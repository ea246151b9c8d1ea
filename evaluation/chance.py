"""What a ranking drawn at random scores: the level below which a figure means nothing.

Every value is the exact expectation, not a simulation. Let a query have R relevant among N items, ranked
in random order:

- Recall@k: k/N, as every item is equally likely to be among the first k.
- MRR@k: the sum over r <= k of P(first relevant at r) / r.
- nDCG@k: by linearity, the mean gain times the sum of discounts, over the ideal DCG.
- MAP over d ranks: the sum over i <= d of [R/N + (i-1) R(R-1)/(N(N-1))] / i, over R.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from evaluation.metrics import DEPTH, METRICS, RECALL_CUTS, judged_with_relevant
from evaluation.runs import Qrels

_CUT = 10  # of MRR and nDCG


def chance_levels(qrels: Qrels, corpus: int) -> dict[str, float]:
    """Average the expected value of every metric, for random rankings of a corpus.

    Args:
        qrels: judgements; queries without a relevant item are left out, as in `measure`.
        corpus: the number of items that are ranked.

    Raises:
        ValueError: if a query has more relevant items than the corpus has items, or none has any.
    """
    # Queries with the same grades have the same expectation.
    profiles = Counter(_grades(qrels[query]) for query in judged_with_relevant(qrels))
    if not profiles:
        raise ValueError("expected a query with a relevant item, got none")
    expected = np.array([_expected(profile, corpus) for profile in profiles])
    means = np.average(expected, axis=0, weights=list(profiles.values()))
    return dict(zip(METRICS, means.tolist(), strict=True))


def _grades(grades: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sorted((grade for grade in grades.values() if grade > 0), reverse=True))


def _expected(grades: tuple[int, ...], corpus: int) -> list[float]:
    relevant = len(grades)
    return [
        reciprocal_rank_by_chance(relevant, corpus, _CUT),
        _ndcg(grades, corpus),
        _average_precision(relevant, corpus),
        *(min(cut, corpus) / corpus for cut in RECALL_CUTS),
    ]


def reciprocal_rank_by_chance(relevant: int, total: int, cut: int) -> float:
    """Give the expected reciprocal rank of the first relevant item, 0 beyond the cut.

    Args:
        relevant: how many of the items are relevant, at least 1.
        total: how many items are ranked.
        cut: ranks that count.

    Raises:
        ValueError: if there are fewer items than relevant ones.

    One relevant among ten candidates, the case that published figures are measured in:

    >>> round(reciprocal_rank_by_chance(1, 10, 10), 2)
    0.29
    """
    if relevant > total:
        raise ValueError(f"{relevant} relevant items among {total}")
    expected, none_before = 0.0, 1.0
    for rank in range(1, min(cut, total - relevant + 1) + 1):
        first_here = relevant / (total - rank + 1)
        expected += none_before * first_here / rank
        none_before *= 1 - first_here
    return expected


def _ndcg(grades: tuple[int, ...], corpus: int) -> float:
    discounts = 1 / np.log2(np.arange(2, _CUT + 2))
    ideal = sum(grade * discount for grade, discount in zip(grades, discounts, strict=False))
    return float(sum(grades) / corpus * discounts[:corpus].sum() / ideal)


def _average_precision(relevant: int, corpus: int) -> float:
    ranks = np.arange(1, min(DEPTH, corpus) + 1)
    both = relevant * (relevant - 1) / (corpus * (corpus - 1)) if corpus > 1 else 0.0
    return float(((relevant / corpus + (ranks - 1) * both) / ranks).sum() / relevant)
