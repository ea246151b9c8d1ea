"""Encoding within the memory that there is: a batch that does not fit is halved."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.content import Content
from retrieval.errors import Exhausted
from retrieval.failpoints import failpoint

Encode: TypeAlias = Callable[[Sequence[Content]], NDArray[np.float32]]

RETRY_AFTER_S = 1.0


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
    try:
        failpoint("encode")
        return encode(contents)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(contents) == 1:
            raise EncoderOutOfMemory from error
    half = len(contents) // 2  # tried only here, where the failed attempt holds no memory any more
    return np.concatenate(
        [encode_within_memory(encode, contents[:half]), encode_within_memory(encode, contents[half:])]
    )


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
