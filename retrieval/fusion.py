"""Hybrid search: one order out of two, nearness of vectors and BM25 of words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.search import Fusion, LinearFusion, RrfFusion

Floats = NDArray[np.float64]

# How many candidates each side gives; a hit that neither has among them is beyond reach.
MIN_DEPTH = 100

# BM25 + weight * cosine, where nothing was learned: about a tenth of a good BM25 score, which helps a little
# where vectors help little, and breaks ties of BM25 everywhere (docs/decisions/022-hybrid-search.md).
DEFAULT_WEIGHT = 3.0


@dataclass(frozen=True, slots=True)
class LearnedFusion:
    """BM25 + weight * cosine, in BM25's own unit. Weight 0 gives BM25's own order."""

    weight: float = DEFAULT_WEIGHT

    @classmethod
    def from_manifest(cls, fusion: Mapping[str, Any]) -> "LearnedFusion":
        """Read what `fusion_learning.learn_fusion` wrote into a manifest."""
        return cls(float(fusion.get("weight", DEFAULT_WEIGHT)))


def fuse(
    fusion: Fusion, learned: LearnedFusion, cosines: Floats, lexical: Floats, dense: NDArray[np.bool_]
) -> Floats:
    """Give each candidate one score, higher is better.

    Args:
        fusion: how.
        learned: how, when `fusion` leaves it to us.
        cosines: of each candidate, shape (n,); NaN where it has no vector.
        lexical: BM25 of each, shape (n,); 0 where no word is shared.
        dense: whether it is one of the dense side's candidates; RRF ranks only those.
    """
    if isinstance(fusion, RrfFusion):
        return _reciprocal_ranks(fusion, np.where(dense, cosines, np.nan), lexical)
    if isinstance(fusion, LinearFusion) and fusion.alpha is not None:
        return fusion.alpha * _scaled(cosines) + (1 - fusion.alpha) * _scaled(
            np.where(lexical > 0, lexical, np.nan)
        )
    fused: Floats = lexical + learned.weight * with_farthest(cosines)
    return fused


def with_farthest(cosines: Floats) -> Floats:
    """Let what has no vector be as far as the farthest that has one."""
    missing = np.isnan(cosines)
    if not missing.any():
        return cosines
    return np.where(missing, 0.0 if missing.all() else np.nanmin(cosines), cosines)


def _scaled(scores: Floats) -> Floats:
    """Scale to [0, 1]; what has no score gets 0, and equal scores all get 1."""
    there = scores[~np.isnan(scores)]
    if not len(there):
        return np.zeros(len(scores))
    low, high = there.min(), there.max()
    if high == low:
        return np.where(np.isnan(scores), 0.0, 1.0)
    scaled: Floats = np.nan_to_num((scores - low) / (high - low), nan=0.0)
    return scaled


def _reciprocal_ranks(fusion: RrfFusion, cosines: Floats, lexical: Floats) -> Floats:
    """Sum weight / (k + rank) over both sides.

    Source: Cormack, Clarke and Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet".
    """
    total = np.zeros(len(cosines))
    sides = ((cosines, fusion.dense_weight), (np.where(lexical > 0, lexical, np.nan), fusion.lexical_weight))
    for scores, weight in sides:
        order = np.argsort(-scores, kind="stable")  # NaN last
        ranked = order[: np.count_nonzero(~np.isnan(scores))]
        total[ranked] += weight / (fusion.k + 1 + np.arange(len(ranked)))
    return total


def order_fused(scores: Floats, cosines: Floats, lexical: Floats, ids: Sequence[str]) -> NDArray[np.int64]:
    """Order candidates by score, then by id; where words decide nothing, by cosine first."""
    nearness, ranks = tie_breakers(cosines, lexical, ids)
    return np.lexsort((ranks, -nearness, -scores))


def tie_breakers(
    cosines: Floats, lexical: Floats, ids: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what decides between equal scores, shape (n,) each.

    Returns:
        The nearness, where words decide nothing; more is first. Then the place among the ids' bytes; less is
        first.
    """
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[sorted(range(len(ids)), key=lambda place: ids[place].encode())] = np.arange(len(ids))
    return np.where(lexical > 0, 0.0, np.nan_to_num(cosines, nan=-2.0)), ranks
