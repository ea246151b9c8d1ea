"""How well vectors bring together what belongs together: rankings of held-out items by held-out items."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.training.relations import Mask, Relations, Rows

METRICS = ("P@1", "MRR", "nDCG@10")
CUT = 10


@dataclass(frozen=True, slots=True)
class Ranked:
    """The metrics of each query, and what a random order would give."""

    values: NDArray[np.float64]  # (queries, METRICS)
    chance: NDArray[np.float64]  # (queries, METRICS)
    queries: Rows  # their numbers

    def means(self) -> dict[str, float]:
        """Average every metric over the queries."""
        return dict(zip(METRICS, self.values.mean(axis=0).tolist(), strict=True)) if len(self.queries) else {}

    def chances(self) -> dict[str, float]:
        """Average what a random order would give."""
        return dict(zip(METRICS, self.chance.mean(axis=0).tolist(), strict=True)) if len(self.queries) else {}


def pooled(parts: Sequence[Ranked]) -> Ranked:
    """Put the queries of several folds together."""
    return Ranked(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.chance for part in parts]),
        np.concatenate([part.queries for part in parts]),
    )


def rank(vectors: NDArray[np.float32], items: Rows, relations: Relations, groups: Rows) -> Ranked:
    """Let every item look for those that belong to it among the others.

    Items of the query's own group are neither found nor counted: another movement of the same work is no
    proof. Items that nothing belongs to are no queries. Equal scores are ranked by number.

    Args:
        vectors: of these items, unit rows, shape (n, dims).
        items: their numbers, shape (n,).
        relations: which of them belong together.
        groups: the group of every item, by number.
    """
    others = groups[items][:, None] != groups[items][None]
    relevant = relations.together(items, items) & others
    asking = np.flatnonzero(relevant.any(axis=1))
    values, chance = np.zeros((2, len(asking), len(METRICS)))
    scores = vectors @ vectors.T
    for place, row in enumerate(asking):
        candidates = np.flatnonzero(others[row])
        order = candidates[np.argsort(-scores[row, candidates], kind="stable")]
        values[place] = metrics_of(relevant[row, order])
        chance[place] = expected_at_random(int(relevant[row].sum()), len(candidates))
    return Ranked(values, chance, items[asking])


def metrics_of(hits: Mask) -> tuple[float, float, float]:
    """Return the metrics of one query: which of the candidates are right, in their order."""
    discounts = 1 / np.log2(np.arange(2, CUT + 2))
    ideal = discounts[: hits.sum()].sum()
    gained = discounts[: len(hits)][hits[:CUT]].sum()
    return float(hits[0]), 1 / (int(hits.argmax()) + 1), float(gained / ideal)


def expected_at_random(relevant: int, candidates: int) -> tuple[float, float, float]:
    """Return the metrics that a random order has on average.

    >>> [round(value, 3) for value in expected_at_random(1, 2)]
    [0.5, 0.75, 0.815]
    """
    share = relevant / candidates
    first, still = 0.0, 1.0  # `still`: nothing relevant before this rank
    for place in range(candidates - relevant + 1):
        hit = relevant / (candidates - place)
        first += still * hit / (place + 1)
        still *= 1 - hit
    discounts = 1 / np.log2(np.arange(2, CUT + 2))
    ideal = discounts[:relevant].sum()
    return share, first, float(share * discounts[:candidates].sum() / ideal)
