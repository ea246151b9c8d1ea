"""Where a server reads and writes items: the workspace's database, or another place with the same methods."""

from collections.abc import Sequence
from typing import Protocol

from retrieval.chunking import Chunking
from retrieval.collections import CollectionCounts, count, create_collection, require_collection
from retrieval.filters import Filter
from retrieval.index_build import redis_module
from retrieval.item_vectors import count_segments
from retrieval.items import (
    Item,
    StoredItem,
    UpsertCounts,
    count_items,
    delete_items,
    get_items,
    ids_matching,
    list_items,
    sequence,
    upsert_items,
)
from retrieval.workspace import Workspace


class ItemStore(Protocol):
    """The items of all collections. Each method raises `CollectionNotFound` for an unknown one."""

    def create(self, collection: str) -> None:
        """Create a collection, unless it is there."""
        ...

    def require(self, collection: str) -> None:
        """Raise if there is no such collection."""
        ...

    def upsert(self, collection: str, items: Sequence[Item], chunking: Chunking | None) -> UpsertCounts:
        """Store items, durably, all or none."""
        ...

    def sequence(self, collection: str) -> int:
        """Return a number that grows with what is stored."""
        ...

    def delete(self, collection: str, ids: Sequence[str], filter: Filter | None) -> list[str]:
        """Delete the items of these ids, or those that match a filter; return the ids that were there."""
        ...

    def get(self, collection: str, ids: Sequence[str]) -> list[StoredItem]:
        """Return the items that exist, in the order of the ids."""
        ...

    def list(
        self, collection: str, filter: Filter | None, after_rowid: int, limit: int
    ) -> Sequence[StoredItem]:
        """List items by ascending rowid."""
        ...

    def count(self, collection: str, filter: Filter | None) -> int:
        """Count the items that match."""
        ...

    def counts(self, collection: str) -> CollectionCounts:
        """Count items and segments."""
        ...

    def count_after(self, collection: str, key: int) -> int:
        """Count the segments above a key."""
        ...


class DatabaseItems:
    """The items in a workspace's database."""

    def __init__(self, ws: Workspace) -> None:
        """Take an open workspace."""
        self._ws = ws

    def create(self, collection: str) -> None:
        """Create a collection, unless it is there."""
        create_collection(self._ws, collection)

    def require(self, collection: str) -> None:
        """Raise if there is no such collection."""
        require_collection(self._ws, collection)

    def upsert(self, collection: str, items: Sequence[Item], chunking: Chunking | None) -> UpsertCounts:
        """Store items, durably, all or none."""
        return upsert_items(self._ws, collection, items, chunking=chunking)

    def sequence(self, collection: str) -> int:
        """Return the highest key ever given out."""
        return sequence(self._ws, collection)

    def delete(self, collection: str, ids: Sequence[str], filter: Filter | None) -> list[str]:
        """Delete the items of these ids, or those that match a filter; return the ids that were there."""
        with self._ws.atomic():  # so that no item comes between the filter and the deletion
            if filter is not None:
                ids = ids_matching(self._ws, collection, filter)
            return delete_items(self._ws, collection, ids)

    def get(self, collection: str, ids: Sequence[str]) -> list[StoredItem]:
        """Return the items that exist, in the order of the ids."""
        return get_items(self._ws, collection, ids)

    def list(
        self, collection: str, filter: Filter | None, after_rowid: int, limit: int
    ) -> Sequence[StoredItem]:
        """List items by ascending rowid."""
        return list_items(self._ws, collection, filter=filter, after_rowid=after_rowid, limit=limit)

    def count(self, collection: str, filter: Filter | None) -> int:
        """Count the items that match."""
        return count_items(self._ws, collection, filter)

    def counts(self, collection: str) -> CollectionCounts:
        """Count items and segments."""
        return count(self._ws, collection)

    def count_after(self, collection: str, key: int) -> int:
        """Count the segments above a key."""
        return count_segments(self._ws, collection, after_key=key)


def item_store(ws: Workspace) -> ItemStore:
    """Return where the items of a workspace are."""
    if not ws.mirrors_redis:
        return DatabaseItems(ws)
    made: ItemStore = redis_module("store").RedisStore(ws)
    return made
