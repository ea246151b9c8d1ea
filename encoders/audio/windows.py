"""Cutting audio into windows of equal length."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def windows(samples: Samples, length: int, hop: int) -> list[Samples]:
    """Cut audio into windows that overlap; the last one is shifted back so that it is a whole one.

    Audio that is shorter than a window is one window of its own length: padding would change the result.

    >>> [w.tolist() for w in windows(np.arange(6), length=4, hop=2)]
    [[0, 1, 2, 3], [2, 3, 4, 5]]
    >>> [w.tolist() for w in windows(np.arange(7), length=4, hop=2)]
    [[0, 1, 2, 3], [2, 3, 4, 5], [3, 4, 5, 6]]
    >>> [w.tolist() for w in windows(np.arange(3), length=4, hop=2)]
    [[0, 1, 2]]

    Args:
        samples: shape (samples,).
        length: of a window, in samples.
        hop: from the start of one to the start of the next, in samples.

    Returns:
        At least one window, all views of `samples`.
    """
    last = len(samples) - length
    if last <= 0:
        return [samples]
    starts = list(range(0, last + 1, hop))
    if starts[-1] != last:
        starts.append(last)
    return [samples[start : start + length] for start in starts]
