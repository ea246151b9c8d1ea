"""Which vectors can be stored: finite, of length 1, of the right width."""

import numpy as np
from numpy.typing import ArrayLike

from retrieval.errors import DimensionMismatch, InvalidInput, NonFiniteVector, ZeroVector
from retrieval.index import Vectors

_UNIT_TOLERANCE = 1e-3  # float16 encoders are that far off


def check_unit_vectors(vectors: ArrayLike, dims: int) -> Vectors:
    """Check vectors that should be of length 1 already, and return them as float32.

    Raises:
        DimensionMismatch: if they are of another width.
        NonFiniteVector: if one holds NaN or infinity.
        ZeroVector: if one is all zeros.
        InvalidInput: if one is of another length than 1.
    """
    array = np.asarray(vectors)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    if array.ndim != 2 or array.shape[1] != dims:
        raise DimensionMismatch(dims, array.shape[-1] if array.ndim else 0, field="vectors")
    if not np.isfinite(array).all():
        raise NonFiniteVector(field="vectors")
    # In doubles: the squares of large or tiny floats would overflow or vanish.
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))
    if not lengths.all():
        raise ZeroVector(field="vectors")
    off = np.abs(lengths - 1) > _UNIT_TOLERANCE
    if off.any():
        raise InvalidInput(f"vectors: expected length 1, got {lengths[off][0]:.4g}", field="vectors")
    return array.astype(np.float32, copy=False)
