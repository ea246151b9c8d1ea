"""Diverse answers: each hit is relevant, and unlike the hits above it."""

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Vectors


def pick_diverse(
    relevance: NDArray[np.float64], vectors: Vectors, limit: int, weight: float
) -> NDArray[np.int64]:
    """Pick hits by maximal marginal relevance.

    Args:
        relevance: of each candidate, shape (n,).
        vectors: of each candidate, unit rows, shape (n, dims).
        limit: candidates to pick.
        weight: of unlikeness, from 0 (relevance alone) to 1.

    Returns:
        Positions of the picked candidates, in the order of the picks, shape (min(limit, n),).

    Source: Carbonell and Goldstein 1998, "The use of MMR, diversity-based reranking".

    >>> east, north = [1.0, 0.0], [0.0, 1.0]
    >>> vectors = np.array([east, east, north], dtype=np.float32)
    >>> pick_diverse(np.array([0.9, 0.8, 0.5]), vectors, 2, 0.5).tolist()
    [0, 2]
    """
    picked: list[int] = []
    left = np.array(relevance, dtype=np.float64) * (1 - weight)
    nearest = np.full(len(left), -np.inf)  # similarity to the nearest pick
    for _ in range(min(limit, len(left))):
        gain = left - weight * np.maximum(nearest, -1) if picked else left
        best = int(np.argmax(gain))
        picked.append(best)
        left[best] = -np.inf
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return np.array(picked, dtype=np.int64)
