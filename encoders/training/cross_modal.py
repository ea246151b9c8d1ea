"""How well two modalities find each other: held-out captions look for their media, and media for captions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.resampling import bootstrap_interval

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

CUTS = (1, 5, 10)
METRICS = (*(f"Recall@{cut}" for cut in CUTS), "MRR")
DIRECTIONS = ("text_to_media", "media_to_text")


@dataclass(frozen=True, slots=True)
class CrossModalRanks:
    """The rank of the first right answer to each query, from 1, by direction."""

    ranks: Mapping[str, Rows]  # each of shape (queries,)
    candidates: Mapping[str, int]  # that are ranked

    def values(self, direction: str) -> NDArray[np.float64]:
        """Return the metrics of each query, shape (queries, METRICS)."""
        ranks = self.ranks[direction]
        return np.stack([*(ranks <= cut for cut in CUTS), 1 / ranks], axis=1).astype(np.float64)

    def means(self) -> dict[str, float]:
        """Return every metric of both directions, named such as `text_to_media.Recall@10`."""
        return {
            f"{direction}.{metric}": float(value)
            for direction in DIRECTIONS
            for metric, value in zip(METRICS, self.values(direction).mean(axis=0), strict=True)
        }

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the 95 % bootstrap interval of every metric, named as in `means`."""
        found: dict[str, tuple[float, float]] = {}
        for direction in DIRECTIONS:
            bounds = bootstrap_interval(self.values(direction)).T.tolist()
            for metric, (low, high) in zip(METRICS, bounds, strict=True):
                found[f"{direction}.{metric}"] = (low, high)
        return found


def rank_across(media: Floats, texts: Floats, caption_of: Rows) -> CrossModalRanks:
    """Rank all media for every caption, and all captions for every medium.

    Media that share a caption are all right for it. Equal scores count against the right answer.

    Args:
        media: unit rows, shape (n, dims).
        texts: of the distinct captions, unit rows, shape (captions, dims).
        caption_of: the caption of each medium, shape (n,).
    """
    scores = texts @ media.T
    right = caption_of[None] == np.arange(len(texts))[:, None]
    return CrossModalRanks(
        {"text_to_media": _first_right(scores, right), "media_to_text": _first_right(scores.T, right.T)},
        {"text_to_media": len(media), "media_to_text": len(texts)},
    )


def _first_right(scores: Floats, right: NDArray[np.bool_]) -> Rows:
    """Return the rank of the best right answer, behind wrong ones of the same score, shape (queries,)."""
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(1 + ((scores >= best) & ~right).sum(axis=1), np.int64)


def chance(caption_of: Rows, captions: int) -> dict[str, float]:
    """Return what a random order gives on average, named as in `CrossModalRanks.means`.

    >>> level = chance(np.arange(4), 4)
    >>> [round(level[f"text_to_media.{metric}"], 3) for metric in METRICS]
    [0.25, 1.0, 1.0, 0.521]
    """
    rights = np.bincount(caption_of, minlength=captions)
    by_direction = {
        "text_to_media": _expected(rights, len(caption_of)),
        "media_to_text": _expected(np.ones(len(caption_of), np.int64), captions),
    }
    return {
        f"{direction}.{metric}": float(value)
        for direction, values in by_direction.items()
        for metric, value in zip(METRICS, values, strict=True)
    }


def _expected(rights: Rows, candidates: int) -> NDArray[np.float64]:
    """Average the metrics of random orders over queries that have so many right answers."""
    counts, queries = np.unique(rights, return_counts=True)
    means = [_expected_of(int(right), candidates) for right in counts]
    return np.asarray(np.average(means, axis=0, weights=queries))


def _expected_of(right: int, candidates: int) -> list[float]:
    none_yet = np.ones(candidates + 1)  # the chance that none is among the first r
    for rank in range(candidates):
        none_yet[rank + 1] = none_yet[rank] * max(0, candidates - right - rank) / (candidates - rank)
    first_here = -np.diff(none_yet)
    recalls = [1 - none_yet[min(cut, candidates)] for cut in CUTS]
    return [*recalls, float((first_here / np.arange(1, candidates + 1)).sum())]
