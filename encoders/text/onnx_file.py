"""Writing ONNX files: the few messages of onnx.proto that a transformer needs.

Weights stay where they are: the graph points into the safetensors file beside it.

Source: onnx/onnx.proto3 of ONNX 1.18 (field numbers), https://onnx.ai/onnx/repo-docs/ExternalData.html.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

IR_VERSION = 8
OPSET = 17
CONTRIB = "com.microsoft"  # ONNX Runtime's own fused operators
CONTRIB_OPSET = 1

FLOAT, INT32, INT64, FLOAT16, BFLOAT16 = 1, 6, 7, 10, 16  # TensorProto.DataType
_INT, _FLOAT, _INTS = 2, 1, 7  # AttributeProto.AttributeType
_EXTERNAL = 1  # TensorProto.DataLocation

Attribute: TypeAlias = int | float | Sequence[int]
Dim: TypeAlias = int | str  # a string names a size that is known at run time


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _bytes(tag: int, value: bytes | str) -> bytes:
    body = value.encode() if isinstance(value, str) else value
    return _varint(tag << 3 | 2) + _varint(len(body)) + body


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _bytes(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, _FLOAT)
    if isinstance(value, int):
        return _bytes(1, name) + _number(3, value) + _number(20, _INT)
    return _bytes(1, name) + b"".join(_number(8, part) for part in value) + _number(20, _INTS)


def _value_info(name: str, kind: int, dims: Sequence[Dim]) -> bytes:
    shape = b"".join(_bytes(1, _bytes(2, dim) if isinstance(dim, str) else _number(1, dim)) for dim in dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


@dataclass(slots=True)
class Graph:
    """A graph that grows node by node; values are known by their names."""

    name: str
    _nodes: list[bytes] = field(default_factory=list)
    _initializers: list[bytes] = field(default_factory=list)
    _inputs: list[bytes] = field(default_factory=list)
    _outputs: list[bytes] = field(default_factory=list)

    def input(self, name: str, kind: int, dims: Sequence[Dim]) -> str:
        """Declare an input, and return its name."""
        self._inputs.append(_bytes(11, _value_info(name, kind, dims)))
        return name

    def output(self, name: str, dims: Sequence[Dim]) -> None:
        """Declare which float32 value is an output."""
        self._outputs.append(_bytes(12, _value_info(name, FLOAT, dims)))

    def constant(self, values: NDArray[np.int64]) -> str:
        """Add integers that the file holds itself."""
        name = f"constant_{len(self._initializers)}"
        body = b"".join(_number(1, size) for size in values.shape)
        body += _number(2, INT64) + _bytes(8, name) + _bytes(9, values.astype("<i8").tobytes())
        self._initializers.append(_bytes(5, body))
        return name

    def external(self, name: str, kind: int, dims: Sequence[int], file: str, offset: int, length: int) -> str:
        """Add a tensor that lies in another file of the same folder, in bytes from its beginning."""
        body = b"".join(_number(1, size) for size in dims) + _number(2, kind) + _bytes(8, name)
        for key, value in (("location", file), ("offset", str(offset)), ("length", str(length))):
            body += _bytes(13, _bytes(1, key) + _bytes(2, value))
        self._initializers.append(_bytes(5, body + _number(14, _EXTERNAL)))
        return name

    def node(self, op: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Attribute) -> str:
        """Add an operation, and return the name of its first output; the others are `name:1`, `name:2`."""
        name = f"{op}_{len(self._nodes)}"
        names = [name, *(f"{name}:{number}" for number in range(1, outputs))]
        body = b"".join(_bytes(1, given) for given in inputs) + b"".join(_bytes(2, made) for made in names)
        body += _bytes(3, name) + _bytes(4, op) + _bytes(7, domain)
        body += b"".join(_bytes(5, _attribute(key, value)) for key, value in attributes.items())
        self._nodes.append(_bytes(1, body))
        return name

    def to_bytes(self) -> bytes:
        """Serialise the model."""
        parts = [*self._nodes, _bytes(2, self.name), *self._initializers, *self._inputs, *self._outputs]
        opsets = (("", OPSET), (CONTRIB, CONTRIB_OPSET))
        return (
            _number(1, IR_VERSION)
            + b"".join(_bytes(8, _bytes(1, domain) + _number(2, version)) for domain, version in opsets)
            + _bytes(2, "twinspire")
            + _bytes(7, b"".join(parts))
        )
