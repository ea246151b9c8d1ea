"""What VSIM is asked, and what its answers come to: the best over all partitions, in order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.exact_index import SCORE_DECIMALS, scan
from retrieval.index import NO_KEY, Keys, Neighbors, Vectors
from retrieval.redis_server import Command

Found = tuple[NDArray[np.int64], NDArray[np.float64]]  # keys and scores, shape (n, width), NO_KEY at the end


def vsim(key: str, query: NDArray[np.float32], wanted: int, effort: int, threaded: bool) -> Command:
    """Make the command that finds the nearest of a query, shape (dims,); effort 0 compares with all."""
    how: tuple[str | int, ...] = ("EF", min(effort, 1_000_000)) if effort else ("TRUTH",)
    if not threaded:
        how = (*how, "NOTHREAD")
    return ("VSIM", key, "FP32", query.tobytes(), "WITHSCORES", "COUNT", wanted, *how)


def merged(replies: Sequence[Sequence[bytes]], queries: int, partitions: int, wanted: int) -> Found:
    """Turn VSIM's replies, partition by partition, into arrays of the nearest over all of them."""
    width = max((len(reply) // 2 for reply in replies), default=0)
    found = np.full((partitions, queries, width), NO_KEY, dtype=np.int64)
    scores = np.full((partitions, queries, width), -np.inf, dtype=np.float64)
    for place, reply in enumerate(replies):
        partition, query = divmod(place, queries)
        size = len(reply) // 2
        found[partition, query, :size] = [int(name) for name in reply[::2]]
        scores[partition, query, :size] = [float(score) for score in reply[1::2]]
    cosines = 2 * scores - 1  # Redis tells (1 + cosine) / 2
    keys = np.moveaxis(found, 0, 1).reshape(queries, partitions * width)
    return ordered(keys, np.moveaxis(cosines, 0, 1).reshape(queries, partitions * width), wanted)


def scanned(keys: Keys, rows: Vectors, queries: Vectors, limit: int) -> Found:
    """Compare queries with rows that were fetched."""
    found, scores = scan(rows, queries, limit)
    return keys[found], scores.astype(np.float64)


def ordered(keys: Keys, scores: NDArray[np.floating[Any]], limit: int) -> Found:
    """Round the scores, order by them, ties by key, and keep the best."""
    scores = scores.astype(np.float64).round(SCORE_DECIMALS)
    order = np.lexsort((keys, -scores), axis=1)[:, :limit]
    return np.take_along_axis(keys, order, axis=1), np.take_along_axis(scores, order, axis=1)


def widened(keys: Keys, scores: NDArray[np.float64], width: int) -> Found:
    """Fill rows to a width."""
    short = max(0, width - keys.shape[1])
    pad = ((0, 0), (0, short))
    return np.pad(keys, pad, constant_values=NO_KEY), np.pad(scores, pad, constant_values=-np.inf)


def fit(keys: Keys, scores: NDArray[np.floating[Any]], limit: int, plan: str) -> Neighbors:
    """Cut or fill rows to the limit."""
    keys, scores = ordered(keys, scores, limit)
    keys, scores = widened(keys, scores, limit)
    return Neighbors(keys, scores, plan)
