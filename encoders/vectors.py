"""What every encoder does with its vectors before it hands them out."""

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import EncoderFault


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to length one, in place.

    Args:
        vectors: shape (n, dims).

    Raises:
        EncoderFault: if a row holds NaN or infinity, or is zero and so has no direction.
    """
    squares = np.einsum("nd,nd->n", vectors, vectors)
    if not (np.isfinite(squares) & (squares > 0)).all():
        raise EncoderFault("the encoder made a vector with NaN or infinity, or without a direction")
    vectors /= np.sqrt(squares)[:, None]
    return vectors
