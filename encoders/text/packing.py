"""Texts of different lengths side by side, without padding where none is needed.

All of a transformer but its attention works on single tokens. So the tokens of a batch are one long row,
and only the attention sees a rectangle, for which they are spread out and gathered again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.text.architecture import RELATIVE_BUCKETS, RELATIVE_MAX_DISTANCE

TOKENS_AT_ONCE = 4_096
_EXACT_BUCKETS = RELATIVE_BUCKETS // 4  # in each direction; farther ones share


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch of n texts with t tokens in all, the longest with l."""

    ids: NDArray[np.int64]  # shape (t,)
    places: NDArray[np.int64]  # of each token in its text, from 0, shape (t,)
    slots: NDArray[np.int64]  # of each token in the flattened rectangle, shape (t,)
    spread: NDArray[np.int64]  # the token in each slot of the rectangle, 0 where there is none, shape (n, l)
    lengths: NDArray[np.int32]  # shape (n,)

    @classmethod
    def of(cls, texts: Sequence[NDArray[np.int64]]) -> "Packed":
        """Pack texts, given as token ids; at least one, none empty."""
        lengths = np.array([len(text) for text in texts], np.int32)
        longest = int(lengths.max())
        starts = np.cumsum(lengths) - lengths
        places = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
        slots = places + np.repeat(np.arange(len(texts)) * longest, lengths)
        spread = np.zeros(len(texts) * longest, np.int64)
        spread[slots] = np.arange(len(slots))
        return cls(np.concatenate(texts), places, slots, spread.reshape(len(texts), longest), lengths)


def batches(lengths: Sequence[int], tokens_at_once: int = TOKENS_AT_ONCE) -> Iterator[NDArray[np.int64]]:
    """Share texts out: those of about equal length together, so that the rectangles have few gaps.

    >>> [batch.tolist() for batch in batches([5, 1, 5, 2], tokens_at_once=8)]
    [[1, 3, 0], [2]]
    """
    order = np.argsort(lengths, kind="stable")
    start = tokens = 0
    for end, number in enumerate(order):
        tokens += lengths[number]
        if tokens > tokens_at_once and end > start:
            yield order[start:end]
            start, tokens = end, lengths[number]
    if start < len(order):
        yield order[start:]


def relative_buckets(longest: int) -> NDArray[np.int64]:
    """Return MPNet's bucket of each token's distance to each other, shape (longest, longest).

    Source: T5 (Raffel et al. 2019, arXiv:1910.10683), in both directions.
    """
    places = np.arange(longest)
    distance = places[:, None] - places[None, :]
    far = np.abs(distance)
    with np.errstate(divide="ignore"):
        scaled = np.log(far.astype(np.float32) / _EXACT_BUCKETS) / np.float32(
            np.log(RELATIVE_MAX_DISTANCE / _EXACT_BUCKETS)
        )
    shared = _EXACT_BUCKETS + np.where(far == 0, 0, scaled * _EXACT_BUCKETS).astype(np.int64)
    bucket = np.where(far < _EXACT_BUCKETS, far, np.minimum(shared, RELATIVE_BUCKETS // 2 - 1))
    return np.asarray(bucket + np.where(distance < 0, RELATIVE_BUCKETS // 2, 0), np.int64)
