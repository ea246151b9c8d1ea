"""Reading and writing safetensors files."""

import json
import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import CorruptArtifact

_MAX_HEADER_BYTES = 1 << 20


def map_tensors(file: Path) -> dict[str, NDArray[np.float32]]:
    """Map the float32 tensors of a safetensors file into memory: only what is used is ever read.

    Every size in the header is checked against the file's before anything is made of it.

    Raises:
        CorruptArtifact: if the file is no safetensors file of float32 tensors.
    """
    try:
        with file.open("rb") as handle:
            data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        (length,) = struct.unpack_from("<Q", data)
        if length > min(_MAX_HEADER_BYTES, len(data) - 8):
            raise ValueError("the header is longer than the file")
        header: dict[str, Any] = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        return {name: _view(data, 8 + length, entry) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise CorruptArtifact(f"{file.name} is not a file of float32 tensors") from error


def _view(data: mmap.mmap, offset: int, entry: dict[str, Any]) -> NDArray[np.float32]:
    start, stop = entry["data_offsets"]
    shape = tuple(int(width) for width in entry["shape"])
    count = math.prod(shape)
    if entry["dtype"] != "F32" or min(shape, default=1) < 0 or start < 0 or stop - start != 4 * count:
        raise ValueError("not a float32 tensor")
    return np.frombuffer(data, "<f4", count, offset + start).reshape(shape)


def check_tensors(
    what: str, tensors: Mapping[str, NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check that tensors are there and of these shapes; `what` they belong to is for the message.

    Raises:
        CorruptArtifact: if one is missing or has another shape.
    """
    for name, expected in shapes.items():
        if name not in tensors or tensors[name].shape != expected:
            got = tensors[name].shape if name in tensors else None
            raise CorruptArtifact(f"{what}: {name}: expected shape {expected}, got {got}")
