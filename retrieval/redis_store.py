"""Items read and written by a server without a database: Redis holds them, and a journal of what was written.

The next `twinspire index`, or a server that has the database, takes the journal over into the database, which
stays the truth. Until then the segments have provisional keys.
"""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from retrieval.chunking import Chunking, split
from retrieval.collections import CollectionCounts, require_collection
from retrieval.content import Content, Modality
from retrieval.errors import FailedPrecondition
from retrieval.filter_sql import validate_filter
from retrieval.filters import Filter
from retrieval.index import Keys
from retrieval.item_checks import Item, ids_json, item_digest, validated_attributes
from retrieval.items import StoredItem, UpsertCounts
from retrieval.manifest import read_manifest
from retrieval.publishing import live_version
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_filters import matches, shown_attributes
from retrieval.redis_item import RedisItem, Span
from retrieval.redis_items import FIRST_PROVISIONAL_KEY, LIST_BATCH, RedisItems
from retrieval.redis_journal import RedisJournal
from retrieval.redis_layout import REDIS_FILE, vector_keys
from retrieval.redis_server import redis_server
from retrieval.redis_vectors import RedisVectors
from retrieval.workspace import Workspace, now


class RedisStore:
    """The items of all collections that were published to Redis. Implements `item_store.ItemStore`."""

    def __init__(self, ws: Workspace) -> None:
        """Take the mirror of a Redis."""
        self._ws = ws
        self._server = redis_server()
        self._catalog = RedisCatalog(self._server)

    def _items(self, collection: str) -> RedisItems:
        require_collection(self._ws, collection)
        return RedisItems(self._server, collection, max(1, self._catalog.partitions(collection)))

    def create(self, collection: str) -> None:
        """Say that a collection begins elsewhere, unless it is there.

        Raises:
            FailedPrecondition: if it is not.
        """
        if collection not in self._catalog.collections():
            raise FailedPrecondition(
                f"a server without a database cannot create collection {collection!r}: import and index it"
                " where the workspace is"
            )

    def require(self, collection: str) -> None:
        """Raise if there is no such collection."""
        require_collection(self._ws, collection)

    def upsert(self, collection: str, items: Sequence[Item], chunking: Chunking | None) -> UpsertCounts:
        """Store items and write them down for the database."""
        store = self._items(collection)
        wanted = {item.id: item for item in items}
        there = store.get(list(wanted))
        changed: list[RedisItem] = []
        same: list[RedisItem] = []
        for item in wanted.values():
            before = there.get(item.id)
            if before is not None and before.digest == item_digest(item).hex():
                attributes = validated_attributes(item)
                same.append(_replaced(before, attributes))
            else:
                changed.append(_new(store, item, chunking))
        RedisJournal(self._server, collection).upserted(list(wanted.values()))
        self._remove(collection, store.put([*changed, *same]))
        self._show(collection, same)
        replaced = sum(item.id in there for item in changed)
        return UpsertCounts(len(changed) - replaced, replaced, len(same))

    def _remove(self, collection: str, keys: Sequence[int]) -> None:
        live = self._live(collection)
        if live is not None and keys:
            live[0].remove(np.array(keys, dtype=np.int64))

    def _show(self, collection: str, items: Sequence[RedisItem]) -> None:
        """Tell FILTER the attributes of items whose vectors stay."""
        live = self._live(collection)
        if live is not None:
            vectors, numeric = live
            shown = {
                span.key: shown_attributes(item.id, item.parsed, numeric)
                for item in items
                for span in item.segments
            }
            vectors.set_attributes(list(shown), list(shown.values()))

    def _live(self, collection: str) -> tuple[RedisVectors, frozenset[str]] | None:
        version = live_version(self._ws, collection)
        if version is None:
            return None
        folder = self._ws.indexes / collection / version
        manifest = read_manifest(folder)
        if manifest is None:
            return None
        where = vector_keys((folder / REDIS_FILE).read_text())
        numeric = self._catalog.versions(collection).get(version, frozenset())
        return RedisVectors(self._server, where, manifest.parameters, manifest.dims), numeric

    def sequence(self, collection: str) -> int:
        """Return the collection's generation."""
        return self._items(collection).generation()

    def delete(self, collection: str, ids: Sequence[str], filter: Filter | None) -> list[str]:
        """Delete the items of these ids, or those that match a filter; return the ids that were there."""
        ids_json(ids)
        store = self._items(collection)
        if filter is not None:
            ids = [item.id for item in self._matching(collection, filter, 0)]
        RedisJournal(self._server, collection).deleted(ids)
        found, dead = store.delete(ids)
        self._remove(collection, dead)
        return found

    def get(self, collection: str, ids: Sequence[str]) -> list[StoredItem]:
        """Return the items that exist, in the order of the ids."""
        ids_json(ids)
        return [_stored(collection, item) for item in self._items(collection).get(ids).values()]

    def list(
        self, collection: str, filter: Filter | None, after_rowid: int, limit: int
    ) -> Sequence[StoredItem]:
        """List items by ascending rowid."""
        found: list[StoredItem] = []
        for item in self._matching(collection, filter, after_rowid, limit):
            found.append(_stored(collection, item))
            if len(found) >= limit:
                break
        return found

    def count(self, collection: str, filter: Filter | None) -> int:
        """Count the items that match; under a filter, by reading them all."""
        if filter is None:
            return self._items(collection).count()
        return sum(1 for _ in self._matching(collection, filter, 0))

    def _matching(
        self, collection: str, filter: Filter | None, after_rowid: int, limit: int = LIST_BATCH
    ) -> Iterator[RedisItem]:
        if filter is not None:
            validate_filter(filter)
        batch = LIST_BATCH if filter is not None else max(1, min(limit, LIST_BATCH))
        for item in self._items(collection).walk(after_rowid, batch):
            if filter is None or matches(filter, item.id, item.parsed):
                yield item

    def counts(self, collection: str) -> CollectionCounts:
        """Count items and segments."""
        store = self._items(collection)
        return CollectionCounts(store.count(), store.count_segments())

    def count_after(self, collection: str, key: int) -> int:
        """Count the items that only the journal holds yet."""
        return sum(len(item.segments) for item in self._items(collection).walk(FIRST_PROVISIONAL_KEY - 1))


def segment_contents(items: Sequence[RedisItem], known: Keys) -> list[tuple[int, Content, RedisItem]]:
    """List the text segments of items, without those whose keys are known."""
    have = set(known.tolist())
    return [
        (span.key, Content(Modality(item.modality), _part(item.text, span)), item)
        for item in items
        for span in item.segments
        if span.key not in have and item.modality == Modality.TEXT
    ]


def _part(text: str, span: Span) -> str:
    return text if span.start is None or span.end is None else text[int(span.start) : int(span.end)]


def _new(store: RedisItems, item: Item, chunking: Chunking | None) -> RedisItem:
    spans: Sequence[tuple[int, int]] = ()
    if chunking is not None and item.modality == Modality.TEXT:
        spans = split(item.text, chunking)
    keys = store.new_keys(max(1, len(spans)))
    segments = [Span(key, *span) for key, span in zip(keys, spans, strict=True)] if len(spans) > 1 else None
    return RedisItem(
        id=item.id,
        rowid=keys[0],
        modality=item.modality.value,
        text=item.text,
        uri=item.uri,
        attributes=validated_attributes(item),
        created_at=now(),
        digest=item_digest(item).hex(),
        segments=tuple(segments or [Span(keys[0], None, None)]),
    )


def _replaced(item: RedisItem, attributes: str) -> RedisItem:
    return RedisItem(
        id=item.id,
        rowid=item.rowid,
        modality=item.modality,
        text=item.text,
        uri=item.uri,
        attributes=attributes,
        created_at=item.created_at,
        digest=item.digest,
        segments=item.segments,
    )


def _stored(collection: str, item: RedisItem) -> StoredItem:
    return StoredItem(
        item.rowid,
        collection,
        item.id,
        Modality(item.modality),
        item.text,
        item.uri,
        json.loads(item.attributes),
        item.created_at,
    )
