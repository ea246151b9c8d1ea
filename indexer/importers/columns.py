"""Which columns of a row become an item's id, text and attributes."""

import datetime
import decimal
from collections.abc import Mapping, Sequence
from typing import Any

from indexer.importers.source import Source
from retrieval.errors import InvalidInput, InvalidItem
from retrieval.items import Item, validate_item

IDS = ("id", "_id")
TEXTS = ("text",)
SPREAD = ("attributes", "metadata")  # objects under these names hold attributes themselves


class Columns:
    """Turns rows into valid items. Where no column is told, the first of IDS that a row has is its id."""

    def __init__(self, source: Source) -> None:
        self.ids = (source.id,) if source.id else IDS
        self.texts = source.text or TEXTS
        self.attributes = source.attributes
        self._not_attributes = frozenset(self.ids) | frozenset(self.texts)

    def check(self, header: Sequence[str]) -> None:
        """Refuse a choice of columns that a table does not have, before any work.

        Raises:
            InvalidInput: naming the missing column and those that there are.
        """
        there = ", ".join(header)
        if not any(name in header for name in self.ids):
            raise InvalidInput(f"id: no column {self.ids[0]!r}; there are: {there}", field="id")
        for name in self.texts:
            if name not in header:
                raise InvalidInput(f"text: no column {name!r}; there are: {there}", field="text")
        for name in self.attributes or ():
            if name not in header:
                raise InvalidInput(f"attributes: no column {name!r}; there are: {there}", field="attributes")

    def item(self, row: Mapping[str, Any], *, checked: bool = False) -> Item:
        """Make a valid item; one that is known to be valid is not checked again.

        Raises:
            InvalidInput: if the row has no id or text, or an attribute is not flat, finite JSON.
        """
        item = Item(id=self._id(row), text=self._text(row), attributes=self._attributes(row))
        if not checked:
            validate_item(item)
        return item

    def _id(self, row: Mapping[str, Any]) -> str:
        for name in self.ids:
            value = row.get(name)
            if value is None or value == "":
                continue
            if isinstance(value, str):
                return value
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
            raise InvalidItem(f"{name}: expected text or a whole number, got {type(value).__name__}")
        raise InvalidItem(f"no {self.ids[0]!r}")

    def _text(self, row: Mapping[str, Any]) -> str:
        if len(self.texts) == 1:
            return _as_text(row, self.texts[0])
        return " ".join(part for name in self.texts if (part := _as_text(row, name)).strip())

    def _attributes(self, row: Mapping[str, Any]) -> dict[str, Any]:
        if self.attributes is not None:
            return {name: plain(row[name]) for name in self.attributes if row.get(name) is not None}
        attributes: dict[str, Any] = {}
        for name, value in row.items():
            if value is None or name in self._not_attributes:
                continue
            if name in SPREAD and isinstance(value, dict):
                attributes.update((key, inner) for key, inner in value.items() if inner is not None)
            else:
                attributes[name] = plain(value)
        return attributes


def _as_text(row: Mapping[str, Any], name: str) -> str:
    try:
        value = row[name]
    except KeyError:
        raise InvalidItem(f"no {name!r}") from None
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise InvalidItem(f"{name}: expected text, got {type(value).__name__}")


def plain(value: Any) -> Any:
    """Turn what tables hold beside JSON's own types into these.

    >>> plain(datetime.date(2001, 2, 3))
    '2001-02-03'
    """
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value
