"""Writing items: one transaction a call, with the segments and the full-text index in step.

Changed content is replaced under a new rowid, so what a vector's key stands for never changes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.chunking import Chunking, split
from retrieval.collections import collection_rowid, text_index
from retrieval.content import Modality
from retrieval.database import Database
from retrieval.failpoints import failpoint
from retrieval.item_checks import Item, ids_json, item_digest, validated_attributes
from retrieval.workspace import Workspace, now


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """What an upsert did, in items."""

    inserted: int
    replaced: int
    unchanged: int  # same content; the attributes may have been updated


@dataclass(frozen=True, slots=True)
class _Write:
    """A valid item, with what is to be stored beside it."""

    item: Item
    digest: bytes
    attributes: str
    spans: Sequence[tuple[int | None, int | None]]


def upsert_items(
    ws: Workspace, collection: str, items: Sequence[Item], *, chunking: Chunking | None = None
) -> UpsertCounts:
    """Insert or replace items; all are durable when this returns, or none was stored.

    Changed content is deleted and inserted again under a new rowid. The same content keeps its rowid,
    its segments and its vectors. Of items with the same id, the last one counts.

    Args:
        ws: the workspace.
        collection: into which one.
        items: in any number; 2,000 at a time is fast.
        chunking: cut new texts that are longer than this into spans; None stores each as one segment.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidId: if an id is empty or too long.
        InvalidItem: if an item cannot be stored.
        BackendUnavailable: if the database is locked by another writer.
        StorageFull: if the disk is full.
        UnusableWorkspace: if the workspace is read-only.
    """
    writes: dict[str, _Write] = {}
    for item in items:
        attributes = validated_attributes(item)
        writes.pop(item.id, None)  # so that the last one also has the last one's place
        writes[item.id] = _Write(item, item_digest(item), attributes, _spans(item, chunking))
    with ws.atomic() as db:
        owner = collection_rowid(ws, collection)
        stored = {
            id: (rowid, digest, attributes)
            for id, rowid, digest, attributes in ws.fetch(
                "SELECT items.id, items.rowid, items.digest, items.attributes FROM json_each(?) AS wanted"
                " CROSS JOIN items ON items.collection = ? AND items.id = wanted.value",
                (json.dumps(list(writes), ensure_ascii=False), collection),
            )
        }
        changed = [write for id, write in writes.items() if id not in stored or stored[id][1] != write.digest]
        stale = [stored[write.item.id][0] for write in changed if write.item.id in stored]
        db.conn.executemany(
            "UPDATE items SET attributes = ? WHERE rowid = ?",
            [
                (writes[id].attributes, rowid)
                for id, (rowid, digest, attributes) in stored.items()
                if writes[id].digest == digest and writes[id].attributes != attributes
            ],
        )
        _delete(db, owner, stale)
        failpoint("upsert-old-deleted")
        _insert(db, owner, collection, changed)
        failpoint("upsert-not-committed")
    failpoint("upsert-committed")
    return UpsertCounts(len(changed) - len(stale), len(stale), len(writes) - len(changed))


def _spans(item: Item, chunking: Chunking | None) -> Sequence[tuple[int | None, int | None]]:
    if chunking is None or item.modality != Modality.TEXT:
        return _WHOLE
    spans = split(item.text, chunking)
    return spans if len(spans) > 1 else _WHOLE


_WHOLE: Sequence[tuple[None, None]] = ((None, None),)


def _insert(db: Database, owner: int, collection: str, writes: Sequence[_Write]) -> None:
    """Insert items under the next rowids, with their segments and full-text rows."""
    if not writes:
        return
    first_item = _next_rowid(db, "items")
    first_segment = _next_rowid(db, "segments")
    created_at = now()
    db.conn.executemany(
        "INSERT INTO items(rowid, collection, id, modality, text, uri, digest, attributes, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                rowid,
                collection,
                write.item.id,
                write.item.modality.value,
                write.item.text,
                write.item.uri,
                write.digest,
                write.attributes,
                created_at,
            )
            for rowid, write in enumerate(writes, first_item)
        ],
    )
    segments = [
        (owner, rowid, *span) for rowid, write in enumerate(writes, first_item) for span in write.spans
    ]
    db.conn.executemany(
        "INSERT INTO segments(rowid, collection, item, start, end) VALUES (?, ?, ?, ?, ?)",
        [(rowid, *segment) for rowid, segment in enumerate(segments, first_segment)],
    )
    db.conn.execute(
        f"INSERT INTO {text_index(owner)}(rowid, text) SELECT rowid, text FROM items"
        " WHERE rowid BETWEEN ? AND ? AND text <> ''",
        (first_item, first_item + len(writes) - 1),
    )
    db.conn.execute(
        "UPDATE collections SET items = items + ?, sequence = ? WHERE rowid = ?",
        (len(writes), first_segment + len(segments) - 1, owner),
    )


def _next_rowid(db: Database, table: str) -> int:
    """Return the rowid that AUTOINCREMENT would give; the caller holds the write lock."""
    row = db.conn.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return 1 if row is None else int(row[0]) + 1


def _delete(db: Database, owner: int, rowids: Sequence[int]) -> None:
    """Delete items, with their segments and vectors (by cascade) and their full-text rows."""
    if not rowids:
        return
    wanted = (json.dumps(rowids),)
    # A contentless FTS5 table forgets a row when it is told what the row held.
    db.conn.execute(
        f"INSERT INTO {text_index(owner)}({text_index(owner)}, rowid, text) SELECT 'delete', rowid, text"
        " FROM items WHERE rowid IN (SELECT value FROM json_each(?)) AND text <> ''",
        wanted,
    )
    db.conn.execute("DELETE FROM items WHERE rowid IN (SELECT value FROM json_each(?))", wanted)
    db.conn.execute("UPDATE collections SET items = items - ? WHERE rowid = ?", (len(rowids), owner))


def delete_items(ws: Workspace, collection: str, ids: Sequence[str]) -> list[str]:
    """Delete items with their segments and vectors, durably.

    Returns:
        The ids that were there, in the order asked for.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidId: if an id cannot be one.
    """
    asked = ids_json(ids)
    with ws.atomic() as db:
        owner = collection_rowid(ws, collection)
        found = dict(
            ws.fetch(
                "SELECT items.id, items.rowid FROM json_each(?) AS wanted"
                " CROSS JOIN items ON items.collection = ? AND items.id = wanted.value",
                (asked, collection),
            )
        )
        _delete(db, owner, list(found.values()))
        failpoint("delete-not-committed")
    failpoint("delete-committed")
    return [id for id in dict.fromkeys(ids) if id in found]
