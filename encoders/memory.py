"""Encoding within the memory that there is: a batch that does not fit is halved."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.content import Content
from retrieval.errors import Exhausted
from retrieval.failpoints import failpoint

Encode: TypeAlias = Callable[[Sequence[Content]], NDArray[np.float32]]
Input = TypeVar("Input")

RETRY_AFTER_S = 1.0
# glibc's names for what is told by `mallopt`, and what it is told.
M_TRIM_THRESHOLD, TRIM_BYTES = -1, 256 << 20
M_MMAP_THRESHOLD, MMAP_BYTES = -3, 64 << 20
GPU_FACTOR = 16  # how many times more a GPU takes together before it is no faster
MEMORY_SHARE = 0.25  # of what is free may be taken by one batch: others compute too, and estimates err


class EncoderOutOfMemory(Exhausted):
    """An encoder cannot encode even a single content in the memory that is left."""

    reason = "ENCODER_OUT_OF_MEMORY"

    def __init__(self) -> None:
        super().__init__(
            "the encoder ran out of memory on a single content: retry later, or send a smaller one",
            retry_after_s=RETRY_AFTER_S,
        )


def encode_within_memory(encode: Encode, contents: Sequence[Content]) -> NDArray[np.float32]:
    """Encode contents together, or in halves of halves if the memory does not suffice.

    Args:
        encode: `encode_queries` or `encode_items` of an encoder.
        contents: n of them, at least one.

    Returns:
        What `encode` returns, shape (n, dims).

    Raises:
        EncoderOutOfMemory: if a single content does not fit.
    """

    def tried(contents: Sequence[Content]) -> NDArray[np.float32]:
        failpoint("encode")
        return encode(contents)

    return halved(tried, contents)


def halved(
    compute: Callable[[Sequence[Input]], NDArray[np.float32]], inputs: Sequence[Input]
) -> NDArray[np.float32]:
    """Compute rows of inputs together, or in halves of halves if the memory does not suffice.

    Raises:
        EncoderOutOfMemory: if a single input does not fit.
    """
    try:
        return compute(inputs)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(inputs) == 1:
            raise EncoderOutOfMemory from error
    half = len(inputs) // 2  # tried only here, where the failed attempt holds no memory any more
    return np.concatenate([halved(compute, inputs[:half]), halved(compute, inputs[half:])])


def in_batches(
    compute: Callable[[Sequence[Input]], NDArray[np.float32]],
    inputs: Sequence[Input],
    *,
    bytes_each: int,
    most: int,
) -> NDArray[np.float32]:
    """Compute rows of inputs in batches that fit into the memory that is free.

    Args:
        compute: takes some of them, gives a row for each.
        inputs: at least one.
        bytes_each: what one of them takes while it is computed, about.
        most: more than these together are not faster on a CPU.

    Raises:
        EncoderOutOfMemory: if a single input does not fit.
    """
    from encoders.device import device, free_memory

    if device().type == "cuda":
        most *= GPU_FACTOR
    else:
        keep_freed_memory()
    size = max(1, min(most, int(free_memory() * MEMORY_SHARE) // max(1, bytes_each)))
    parts = [halved(compute, inputs[start : start + size]) for start in range(0, len(inputs), size)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@cache
def keep_freed_memory() -> None:
    """Let the C library keep memory that torch gives back after each layer, for the next one.

    Else it returns it to the system, which clears every page of the next layer's anew: MobileNetV2 encodes
    80 instead of 260 pictures a second.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # another C library, with habits of its own
    mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
    mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is lacking, in whatever way its library says it.

    torch raises OutOfMemoryError for a GPU, and a RuntimeError for the CPU.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("can't allocate memory"))
    (True, True)
    >>> is_out_of_memory(RuntimeError("shapes do not match"))
    False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
