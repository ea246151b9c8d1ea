"""Items: from protobuf and back."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from protos.twinspire.v1 import items_pb2 as pb
from retrieval.content import Modality
from retrieval.errors import InvalidItem
from retrieval.items import Item, StoredItem

_MODALITIES = {
    pb.MODALITY_UNSPECIFIED: Modality.TEXT,
    pb.MODALITY_TEXT: Modality.TEXT,
    pb.MODALITY_IMAGE: Modality.IMAGE,
    pb.MODALITY_AUDIO: Modality.AUDIO,
    pb.MODALITY_VIDEO: Modality.VIDEO,
}
_TO_MODALITIES = {
    Modality.TEXT: pb.MODALITY_TEXT,
    Modality.IMAGE: pb.MODALITY_IMAGE,
    Modality.AUDIO: pb.MODALITY_AUDIO,
    Modality.VIDEO: pb.MODALITY_VIDEO,
}
# Beyond this, a double no longer tells neighbouring integers apart.
_EXACT_INTEGERS = 2**53


def item_from(message: pb.Item) -> Item:
    """Translate an item; whether it can be stored is checked by the storage.

    Raises:
        InvalidItem: if the modality is unknown or an attribute is nested.
    """
    modality = _MODALITIES.get(message.modality)
    if modality is None:
        raise InvalidItem(f"modality: expected 0 to 4, got {message.modality}", field="modality")
    attributes = attributes_from(message.attributes) if message.HasField("attributes") else {}
    return Item(message.id, modality, message.text, message.uri, attributes)


def attributes_from(message: struct_pb2.Struct) -> dict[str, Any]:
    """Translate attributes; whole numbers become integers.

    Raises:
        InvalidItem: if a value is an object, or a list in a list.
    """
    return {name: _value(name, value, flat=False) for name, value in message.fields.items()}


def _value(name: str, value: struct_pb2.Value, *, flat: bool) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT_INTEGERS else number
    if kind in ("string_value", "bool_value"):
        return getattr(value, kind)
    if kind == "list_value" and not flat:
        return [_value(name, element, flat=True) for element in value.list_value.values]
    if kind in ("null_value", None):
        return None
    raise InvalidItem(
        f"attributes: {name[:140]}: expected a text, a number, a boolean, null or a list of these",
        field="attributes",
    )


def item_to(item: StoredItem) -> pb.Item:
    """Translate a stored item."""
    message = pb.Item(id=item.id, modality=_TO_MODALITIES[item.modality], text=item.text, uri=item.uri)
    if item.attributes:
        message.attributes.CopyFrom(attributes_to(item.attributes))
    return message


def attributes_to(attributes: Mapping[str, Any]) -> struct_pb2.Struct:
    """Translate attributes."""
    message = struct_pb2.Struct()
    message.update(attributes)
    return message
