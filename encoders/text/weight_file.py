"""Where each tensor of a published safetensors file lies."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.text.architecture import Architecture
from encoders.text.weights import expected_shape, tensor_names, without_prefix
from retrieval.errors import IncompatibleModel

MAX_HEADER_BYTES = 16 << 20
BYTES_PER_NUMBER = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of a file."""

    name: str  # in the file
    dtype: str  # a key of BYTES_PER_NUMBER
    shape: tuple[int, ...]
    offset: int  # in bytes, from the file's beginning
    length: int  # in bytes


def find_tensors(file: Path, shape: Architecture) -> Mapping[str, Entry]:
    """Find the tensors that a transformer needs, by our names; nothing of them is read.

    Raises:
        IncompatibleModel: if the file is none, lacks one, or one has another shape.
    """
    there = {without_prefix(entry.name): entry for entry in _entries(file)}
    found: dict[str, Entry] = {}
    for ours, theirs in tensor_names(shape):
        entry = there.get(theirs)
        expected = expected_shape(ours, shape)
        if entry is None:
            raise IncompatibleModel(f"{file.name}: there is no tensor {theirs}, which the config asks for")
        if len(entry.shape) != len(expected) or any(
            want not in (-1, got) for want, got in zip(expected, entry.shape, strict=True)
        ):
            raise IncompatibleModel(
                f"{file.name}: {theirs} has the shape {entry.shape}, the config asks for {expected}"
            )
        found[ours] = entry
    return found


def _entries(file: Path) -> list[Entry]:
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > min(MAX_HEADER_BYTES, size - 8):
                raise ValueError("the header is longer than the file")
            header: dict[str, Any] = json.loads(handle.read(length))
        header.pop("__metadata__", None)
        return [
            _entry(name, entry, 8 + length, size)
            for name, entry in header.items()
            if entry["dtype"] in BYTES_PER_NUMBER
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise IncompatibleModel(f"{file.name} is not a file of safetensors") from error


def _entry(name: str, entry: dict[str, Any], base: int, size: int) -> Entry:
    start, stop = (int(place) for place in entry["data_offsets"])
    shape = tuple(int(width) for width in entry["shape"])
    numbers = 1
    for width in shape:
        numbers *= width
    wanted = numbers * BYTES_PER_NUMBER[entry["dtype"]]
    if start < 0 or min(shape, default=1) < 0 or stop - start != wanted or base + stop > size:
        raise ValueError("a tensor does not fit into the file")
    return Entry(name, entry["dtype"], shape, base + start, wanted)
