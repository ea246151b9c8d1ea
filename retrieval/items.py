"""Items: what a collection holds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.collections import collection_rowid, require_collection
from retrieval.content import Modality
from retrieval.filter_sql import compile_filter
from retrieval.filters import Filter
from retrieval.item_checks import MAX_ID_BYTES, MAX_TEXT_BYTES, Item, ids_json, item_digest, validate_item
from retrieval.item_writes import UpsertCounts, delete_items, upsert_items
from retrieval.workspace import Workspace

__all__ = [
    "MAX_ID_BYTES",
    "MAX_TEXT_BYTES",
    "Item",
    "StoredItem",
    "UpsertCounts",
    "count_items",
    "delete_items",
    "get_items",
    "ids_matching",
    "item_digest",
    "list_items",
    "sequence",
    "upsert_items",
    "validate_item",
]

MAX_ROWID = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as it is stored."""

    rowid: int
    collection: str
    id: str
    modality: Modality
    text: str
    uri: str
    attributes: Mapping[str, Any]
    created_at: str


_COLUMNS = "items.rowid, items.id, items.modality, items.text, items.uri, items.attributes, items.created_at"


def get_items(ws: Workspace, collection: str, ids: Sequence[str]) -> list[StoredItem]:
    """Return the items of these ids that exist, in the order of the ids.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidId: if an id cannot be one.
    """
    require_collection(ws, collection)
    rows = ws.fetch(
        f"SELECT {_COLUMNS} FROM json_each(?) AS wanted CROSS JOIN items"
        " ON items.collection = ? AND items.id = wanted.value",
        (ids_json(ids), collection),
    )
    found = {row[1]: _stored(collection, row) for row in rows}
    return [found[id] for id in dict.fromkeys(ids) if id in found]


def list_items(
    ws: Workspace, collection: str, *, filter: Filter | None = None, after_rowid: int = 0, limit: int = 100
) -> list[StoredItem]:
    """List items by ascending rowid, which is the order in which their contents were stored.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidFilter: if the filter is malformed or too large.
    """
    require_collection(ws, collection)
    condition = compile_filter(filter)
    rows = ws.fetch(
        f"SELECT {_COLUMNS} FROM items WHERE rowid > ? AND collection = ? AND {condition.sql}"
        " ORDER BY rowid LIMIT ?",
        (min(after_rowid, MAX_ROWID), collection, *condition.parameters, max(0, limit)),
    )
    return [_stored(collection, row) for row in rows]


def count_items(ws: Workspace, collection: str, filter: Filter | None = None) -> int:
    """Count the items that match a filter.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidFilter: if the filter is malformed or too large.
    """
    require_collection(ws, collection)
    if filter is None:
        return int(ws.fetch("SELECT items FROM collections WHERE name = ?", (collection,))[0][0])
    condition = compile_filter(filter)
    return int(
        ws.fetch(
            f"SELECT count(*) FROM items WHERE collection = ? AND {condition.sql}",
            (collection, *condition.parameters),
        )[0][0]
    )


def ids_matching(ws: Workspace, collection: str, filter: Filter | None) -> list[str]:
    """List the ids of the items that match a filter, in ascending order of their bytes.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidFilter: if the filter is malformed or too large.
    """
    require_collection(ws, collection)
    condition = compile_filter(filter)
    rows = ws.fetch(
        f"SELECT id FROM items WHERE collection = ? AND {condition.sql} ORDER BY id",
        (collection, *condition.parameters),
    )
    return [id for (id,) in rows]


def sequence(ws: Workspace, collection: str) -> int:
    """Return the highest segment rowid ever given out for a collection: it only grows.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    rowid = collection_rowid(ws, collection)
    return int(ws.fetch("SELECT sequence FROM collections WHERE rowid = ?", (rowid,))[0][0])


def _stored(collection: str, row: tuple[Any, ...]) -> StoredItem:
    rowid, id, modality, text, uri, attributes, created_at = row
    return StoredItem(
        rowid, collection, id, Modality(modality), text, uri, json.loads(attributes), created_at
    )
