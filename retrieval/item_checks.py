"""An item to store, and which ones can be: the limits, checked before anything is written."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retrieval.content import Modality
from retrieval.errors import InvalidId, InvalidItem

MAX_ID_BYTES = 512
MAX_TEXT_BYTES = 1 << 20
MAX_URI_BYTES = 4096
MAX_ATTRIBUTES = 256
MAX_ATTRIBUTE_NAME_BYTES = 256
MAX_ATTRIBUTES_BYTES = 1 << 16  # of all, as JSON

_encode_attributes = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


@dataclass(frozen=True, slots=True)
class Item:
    """Something to store: a text, or a media file under an allowed root."""

    id: str
    modality: Modality = Modality.TEXT
    text: str = ""
    uri: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    content_hash: str = ""  # of a media file's bytes: another one is another content


def validate_item(item: Item) -> None:
    """Check that an item can be stored.

    Raises:
        InvalidId: if the id is not 1 to MAX_ID_BYTES bytes of UTF-8.
        InvalidItem: if the content is missing or too large, or the attributes are not flat JSON.
    """
    validated_attributes(item)


def validated_attributes(item: Item) -> str:
    """Check an item as `validate_item` does, and return its attributes as JSON."""
    check_id(item.id)
    check_text(item.text, MAX_TEXT_BYTES, "text")
    if item.uri:
        check_text(item.uri, MAX_URI_BYTES, "uri")
    if item.modality == Modality.TEXT:
        if not item.text or item.text.isspace():
            raise InvalidItem("text: expected some, got only blanks", field="text")
    elif not item.uri:
        raise InvalidItem(f"uri: expected that of the {item.modality} file, got none", field="uri")
    return attributes_json(item.attributes)


def item_digest(item: Item) -> bytes:
    """Return the sha256 over an item's content: modality, uri, text and hash, but not its attributes."""
    content = f"{item.modality}\0{item.uri}\0{item.text}"
    if item.content_hash:
        content += f"\0{item.content_hash}"
    return hashlib.sha256(content.encode()).digest()


def check_id(id: str, *, field: str = "id") -> None:
    """Check an item's id.

    Raises:
        InvalidId: if it is not 1 to MAX_ID_BYTES bytes of UTF-8.
        InvalidItem: if it holds a NUL or half of a surrogate pair.
    """
    size = _size(id, field)
    if not 1 <= size <= MAX_ID_BYTES:
        raise InvalidId(size, MAX_ID_BYTES, field=field)


def ids_json(ids: Sequence[str]) -> str:
    """Write ids as the JSON array that `json_each` takes.

    Raises:
        InvalidId: if an id cannot be one.
    """
    for id in ids:
        check_id(id)
    return json.dumps(list(ids), ensure_ascii=False)


def check_text(text: str, maximum: int, field: str) -> None:
    """Check a text's bytes.

    Raises:
        InvalidItem: if it is longer than the maximum, or holds a NUL or half of a surrogate pair.
    """
    size = _size(text, field)
    if size > maximum:
        raise InvalidItem(f"{field}: expected at most {maximum} bytes, got {size}", field=field)


def _size(text: str, field: str) -> int:
    if not isinstance(text, str):
        raise InvalidItem(f"{field}: expected a text, got {type(text).__name__}", field=field)
    if "\0" in text:  # SQLite's JSON functions would cut the text there
        raise InvalidItem(f"{field}: expected a text without NUL characters", field=field)
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidItem(
            f"{field}: expected valid Unicode, got half of a surrogate pair", field=field
        ) from None


def attributes_json(attributes: Mapping[str, Any]) -> str:
    """Check an item's attributes and write them as JSON: equal attributes give equal texts.

    Raises:
        InvalidItem: if they are not flat (texts, finite numbers, booleans, nulls and lists of these), or
            too many or too large.
    """
    if not attributes:
        return "{}"
    if len(attributes) > MAX_ATTRIBUTES:
        raise _invalid(f"expected at most {MAX_ATTRIBUTES}, got {len(attributes)}")
    for name, value in attributes.items():
        size = _size(name, "attributes")
        if not 1 <= size <= MAX_ATTRIBUTE_NAME_BYTES:
            raise _invalid(f"expected names of 1 to {MAX_ATTRIBUTE_NAME_BYTES} bytes, got {size}")
        if isinstance(value, list | tuple):
            for element in value:
                _check_scalar(name, element)
        else:
            _check_scalar(name, value)
    text = _encode_attributes(dict(attributes))
    if len(text) > MAX_ATTRIBUTES_BYTES or len(text.encode()) > MAX_ATTRIBUTES_BYTES:
        raise _invalid(f"expected at most {MAX_ATTRIBUTES_BYTES} bytes of JSON")
    return text


def _check_scalar(name: str, value: object) -> None:
    if isinstance(value, str):
        _size(value, f"attributes.{name}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _invalid(f"{name!r}: expected a finite number, got {value}")
    elif isinstance(value, int):  # booleans too
        if not -(1 << 63) <= value < 1 << 63:
            raise _invalid(f"{name!r}: expected an integer of at most 64 bits")
    elif value is not None:
        raise _invalid(
            f"{name!r}: expected a text, number, boolean, null or a list of these, got {type(value).__name__}"
        )


def _invalid(message: str) -> InvalidItem:
    return InvalidItem(f"attributes: {message}", field="attributes")
