"""Protobuf's wire format where the library hides something: two members of a oneof in one message."""

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from server.errors import AmbiguousRequest

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)
_FIXED_WIDTH = {_FIXED64: 8, _FIXED32: 4}


def refuse_two_kinds(message: Message, data: bytes) -> None:
    """Refuse a message whose bytes hold two members of a oneof.

    The parser keeps the last and forgets the other, so the bytes are then longer than the message: only
    then are they walked.

    Args:
        message: what the bytes were parsed to.
        data: the bytes, known to be well formed.

    Raises:
        AmbiguousRequest: naming the oneof and its fields.
    """
    if message.ByteSize() != len(data):
        _walk(message.DESCRIPTOR, memoryview(data), {})


def _walk(descriptor: Any, data: memoryview, seen: dict[str, str]) -> None:
    """Check one message; `seen` names the member of each oneof that was met before."""
    inner: dict[int, dict[str, str]] = {}  # a singular message sent twice is merged, so its oneofs are too
    for number, value in _fields(data):
        field = descriptor.fields_by_number.get(number)
        if field is None:
            continue
        oneof = field.containing_oneof
        if oneof is not None and seen.setdefault(oneof.name, field.name) != field.name:
            raise AmbiguousRequest(oneof.full_name, [seen[oneof.name], field.name])
        if value is not None and field.type == FieldDescriptor.TYPE_MESSAGE:
            _walk(field.message_type, value, {} if field.is_repeated else inner.setdefault(number, {}))


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Yield each field's number, and its bytes if it is length-delimited; groups are skipped."""
    for number, span in _spans(data, 0, len(data)):
        yield number, None if span is None else data[slice(*span)]


def _spans(data: bytes | memoryview, position: int, end: int) -> Iterator[tuple[int, tuple[int, int] | None]]:
    """Yield each field's number, and where its bytes lie if it is length-delimited; groups are skipped."""
    groups = 0
    while position < end:
        tag, position = read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        span = None
        if kind == _BYTES:
            size, position = read_varint(data, position)
            span = position, position + size
            position += size
        elif kind == _VARINT:
            _, position = read_varint(data, position)
        elif kind in _FIXED_WIDTH:
            position += _FIXED_WIDTH[kind]
        else:
            groups += 1 if kind == _GROUP else -1
            continue
        if not groups:
            yield number, span


def read_varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Read a number; return it and the position behind it.

    >>> read_varint(bytes.fromhex("ac0207"), 0)
    (300, 2)

    Raises:
        IndexError: if the bytes end within it.
    """
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def find_field(data: bytes, path: Sequence[int]) -> tuple[int, int] | None:
    """Find where the bytes of a nested, length-delimited field lie.

    >>> find_field(bytes.fromhex("0801120412026162"), (2, 2))
    (6, 8)

    Args:
        data: a well-formed message.
        path: field numbers, from the outside inwards.

    Returns:
        First byte and the one behind the last; None if some field is missing, or there twice.
    """
    first, last = 0, len(data)
    for number in path:
        spans = [span for found, span in _spans(data, first, last) if found == number]
        if len(spans) != 1 or spans[0] is None:
            return None
        first, last = spans[0]
    return first, last


def varint(value: int) -> bytes:
    """Encode a number of at least 0.

    >>> varint(300).hex()
    'ac02'
    """
    if value < len(_SMALL):
        return _SMALL[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL: tuple[bytes, ...] = ()
_SMALL = tuple(varint(value) for value in range(1 << 14))


def delimited(number: int, value: bytes) -> bytes:
    """Encode a length-delimited field.

    >>> delimited(1, b"ab").hex()
    '0a026162'
    """
    return tag(number) + varint(len(value)) + value


def tag(number: int) -> bytes:
    """Encode what stands before a length-delimited field's length."""
    return varint(number << 3 | _BYTES)
