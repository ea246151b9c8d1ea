"""Search requests that differ only in their vector: the first is translated, others are told by their bytes.

Most of what clients send is such: same collection, same limit, another vector. Parsing and translating one
costs ten microseconds, comparing what stands before and after its vector one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protos.twinspire.v1 import content_pb2
from protos.twinspire.v1 import search_pb2 as pb
from server.translation.queries import Plan
from server.translation.vectors import FLOAT_BYTES, are_ordinary, is_ordinary
from server.wire import find_field, read_varint

# Beyond so many all are forgotten: they are learned again as fast.
MAX_SHAPES = 256
_REQUESTS_TAG = pb.BatchSearchRequest.REQUESTS_FIELD_NUMBER << 3 | 2
_LONGEST_VARINT = 10
_QUERY, _VECTOR = pb.SearchRequest.QUERY_FIELD_NUMBER, pb.Query.VECTOR_FIELD_NUMBER
_FORMS = (content_pb2.DenseVector.F32LE_FIELD_NUMBER, content_pb2.DenseVector.VALUES_FIELD_NUMBER)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What requests have in common that differ only in their vector."""

    head: bytes  # before the vector's floats
    tail: bytes  # after them
    dims: int
    plan: Plan  # of the first of them


class Shapes:
    """The shapes that were met. Belongs to one event loop."""

    def __init__(self) -> None:
        self._known: dict[int, list[Shape]] = {}  # by the length of a request
        self._count = 0

    def learn(self, data: bytes, plan: Plan) -> None:
        """Remember the shape of a request, if others may be answered alike.

        Args:
            data: a SearchRequest, parsed and found to hold nothing twice.
            plan: what it was translated to.
        """
        vector = plan.parts[0].vector
        if plan.alike is None or vector is None or self._find(data) is not None:
            return
        span = next((found for form in _FORMS if (found := find_field(data, (_QUERY, _VECTOR, form)))), None)
        if span is None or span[1] - span[0] != len(vector) * FLOAT_BYTES:
            return
        if self._count >= MAX_SHAPES:
            self._known, self._count = {}, 0
        shape = Shape(data[: span[0]], data[span[1] :], len(vector), plan)
        self._known.setdefault(len(data), []).append(shape)
        self._count += 1

    def learn_first(self, data: bytes, plan: Plan) -> None:
        """Remember the shape of a BatchSearchRequest's first request."""
        size, start = _first_request(data)
        if size:
            self.learn(data[start : start + size], plan)

    def _find(self, data: bytes) -> Shape | None:
        for shape in self._known.get(len(data), ()):
            if data.startswith(shape.head) and data.endswith(shape.tail):
                return shape
        return None

    def read(self, data: bytes) -> tuple[Shape, NDArray[np.float32]] | None:
        """Read a SearchRequest of a known shape.

        Returns:
            The shape and the vector as it came, shape (1, dims); None if it needs a closer look.
        """
        shape = self._find(data)
        if shape is None:
            return None
        vector = np.frombuffer(data, "<f4", shape.dims, len(shape.head))
        return (shape, vector[None]) if is_ordinary(vector) else None

    def read_batch(self, data: bytes) -> tuple[Shape, NDArray[np.float32]] | None:
        """Read a BatchSearchRequest whose requests all have the same, known shape.

        Returns:
            The shape and the vectors as they came, shape (n, dims); None if it needs a closer look.
        """
        size, start = _first_request(data)
        count, rest = divmod(len(data), start + size)
        shape = None if rest or not size else self._find(data[start : start + size])
        if shape is None:
            return None
        table = np.frombuffer(data, np.uint8).reshape(count, start + size)
        first, last = start + len(shape.head), start + size - len(shape.tail)
        if (table[:, :first] != table[0, :first]).any() or (table[:, last:] != table[0, last:]).any():
            return None
        vectors = np.ascontiguousarray(table[:, first:last]).view("<f4")
        return (shape, vectors) if are_ordinary(vectors) else None


def _first_request(data: bytes) -> tuple[int, int]:
    """Return the length of a BatchSearchRequest's first request and where it begins; the length may be 0."""
    if len(data) <= _LONGEST_VARINT or data[0] != _REQUESTS_TAG:
        return 0, 1
    return read_varint(data, 1) if min(data[1 : 1 + _LONGEST_VARINT]) < 0x80 else (0, 1)
