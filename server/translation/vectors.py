"""Vectors: from protobuf to unit rows, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.twinspire.v1 import content_pb2
from retrieval.errors import DimensionMismatch, InvalidInput, NonFiniteVector, ZeroVector

FLOAT_BYTES = 4


def vector_from(message: content_pb2.DenseVector, field: str) -> NDArray[np.float32]:
    """Read a vector as a unit vector, shape (dims,).

    Raises:
        InvalidInput: unless exactly one of the two forms is given.
        NonFiniteVector: if a number is NaN or infinite.
        ZeroVector: if all numbers are zero.
    """
    if message.f32le:
        if message.values:
            raise InvalidInput(f"{field}: expected f32le or values, got both", field=field)
        if len(message.f32le) % FLOAT_BYTES:
            raise InvalidInput(
                f"{field}.f32le: expected {FLOAT_BYTES} bytes a dimension, got {len(message.f32le)}",
                field=field,
            )
        raw: NDArray[Any] = np.frombuffer(message.f32le, "<f4")
    elif message.values:
        raw = np.array(message.values, np.float32)
    else:
        raise InvalidInput(f"{field}: expected f32le or values, got neither", field=field)
    return unit_vector(raw, field)


def unit_vector(raw: NDArray[Any], field: str) -> NDArray[np.float32]:
    """Scale a vector to length 1, casting to float32.

    >>> unit_vector(np.array([3.0, 4.0]), "vector").tolist()
    [0.6000000238418579, 0.800000011920929]

    Raises:
        NonFiniteVector: if a number is NaN or infinite.
        ZeroVector: if all numbers are zero.
    """
    # In double precision the square of the largest and of the smallest float32 is neither inf nor 0.
    wide = raw.astype(np.float64)
    square = float(np.dot(wide, wide))
    if not 0.0 < square < np.inf:
        if square == 0.0:
            raise ZeroVector(field=field)
        raise NonFiniteVector(field=field)
    unit: NDArray[np.float32] = (wide * square**-0.5).astype(np.float32)
    return unit


# Squared lengths that single precision can tell from zero and infinity.
_SMALLEST, _LARGEST = 1e-30, 1e30


def is_ordinary(vector: NDArray[np.float32]) -> bool:
    """Tell whether a vector is surely neither zero nor endless; one that may be needs a closer look."""
    wide = vector.astype(np.float64)
    return bool(_SMALLEST < wide.dot(wide) < _LARGEST)


def are_ordinary(vectors: NDArray[np.float32]) -> bool:
    """Tell whether all vectors are, shape (n, dims)."""
    squares = np.einsum("nd,nd->n", vectors, vectors)
    return bool(((squares > _SMALLEST) & (squares < _LARGEST)).all())


def unit_vectors(raw: NDArray[Any]) -> NDArray[np.float32]:
    """Scale ordinary vectors to length 1, shape (n, dims)."""
    wide = raw.astype(np.float64)
    squares = np.einsum("nd,nd->n", wide, wide)
    unit: NDArray[np.float32] = (wide * (squares**-0.5)[:, None]).astype(np.float32)
    return unit


def check_dims(vector: NDArray[np.float32], dims: int, field: str) -> None:
    """Check a vector's width.

    Raises:
        DimensionMismatch: if it is not `dims` wide.
    """
    if vector.shape[0] != dims:
        raise DimensionMismatch(dims, vector.shape[0], field=field)


def vector_to(vector: NDArray[np.float32]) -> content_pb2.DenseVector:
    """Write a vector as little-endian float32."""
    return content_pb2.DenseVector(f32le=vector.astype("<f4").tobytes())
