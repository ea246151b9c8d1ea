"""Segments: the parts of items that vectors stand for, as rows of the database."""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from retrieval.chunking import Chunking, is_longer, parse_chunking, split
from retrieval.collections import collection_rowid
from retrieval.content import Content, Modality
from retrieval.index import Keys
from retrieval.workspace import Workspace

__all__ = [
    "Chunking",
    "FetchedRow",
    "SegmentRow",
    "drop_superseded_segments",
    "fetch_rows",
    "in_windows",
    "locate",
    "not_superseded",
    "parse_chunking",
    "pending_segments",
    "segment_texts",
    "split",
    "split_long_items",
]

# The whole of a long text is superseded once it has spans: it stays only for the index that still holds it.
# The whole of a sound or video is searched beside its windows.
_SUPERSEDED_TEXT = (
    "segments.start IS NULL AND EXISTS (SELECT 1 FROM segments AS span"
    " WHERE span.item = segments.item AND span.start IS NOT NULL)"
    " AND (SELECT modality FROM items WHERE rowid = segments.item) = 'text'"
)


def in_windows(window_s: float | None = None) -> str:
    """Return the condition, in SQL, that leaves out windows of another length.

    Args:
        window_s: the length of an index version's windows; None takes that which its collection is being
            cut into.
    """
    length = (
        "(SELECT window_s FROM collections WHERE collections.rowid = segments.collection)"
        if window_s is None
        else repr(float(window_s))
    )
    return f"(segments.window_s IS NULL OR segments.window_s = {length})"


def not_superseded(window_s: float | None = None) -> str:
    """Return the condition that leaves out all segments in whose place a new version has others."""
    return f"(NOT ({_SUPERSEDED_TEXT}) AND {in_windows(window_s)})"


NOT_SUPERSEDED = not_superseded()


class SegmentRow(NamedTuple):
    """Where a living segment lies; start and end are None when it is the whole item."""

    key: int
    item_rowid: int
    start: float | None
    end: float | None


class FetchedRow(NamedTuple):
    """A living segment with its item, as a search shows it."""

    key: int
    id: str
    modality: str
    text: str  # of the item
    uri: str
    attributes: str  # JSON
    start: float | None
    end: float | None


def fetch_rows(ws: Workspace, collection: str, keys: Keys | Sequence[int]) -> list[FetchedRow]:
    """Fetch what a search shows of these segments, in one statement.

    Keys that are dead or of another collection are left out; the order is not that of the keys.
    """
    rows = ws.fetch(
        "SELECT segments.rowid, items.id, items.modality, items.text, items.uri, items.attributes,"
        " segments.start, segments.end"
        " FROM json_each(?) AS wanted CROSS JOIN segments ON segments.rowid = wanted.value"
        " CROSS JOIN items ON items.rowid = segments.item WHERE items.collection = ?",
        (as_json(keys), collection),
    )
    return [FetchedRow._make(row) for row in rows]


def locate(ws: Workspace, collection: str, keys: Keys | Sequence[int]) -> dict[int, SegmentRow]:
    """Say where these segments lie; those that are dead or of another collection are left out."""
    rows = ws.fetch(
        "SELECT segments.rowid, segments.item, segments.start, segments.end"
        " FROM json_each(?) AS wanted CROSS JOIN segments ON segments.rowid = wanted.value"
        " WHERE segments.collection = ?",
        (as_json(keys), collection_rowid(ws, collection)),
    )
    return {row[0]: SegmentRow._make(row) for row in rows}


def segment_texts(ws: Workspace, collection: str, segments: Keys | Sequence[int]) -> list[Content]:
    """Return the contents of these segments, in their order.

    Raises:
        KeyError: if one of them is dead or of another collection.
    """
    found = {
        row.key: _content(row.modality, row.text, row.uri, row.start, row.end)
        for row in fetch_rows(ws, collection, segments)
    }
    return [found[int(key)] for key in segments]


def pending_segments(
    ws: Workspace,
    collection: str,
    fingerprint: str,
    *,
    limit: int,
    after_key: int = 0,
    modalities: Iterable[Modality] = (Modality.TEXT,),
    window_s: float | None = None,
) -> list[tuple[int, Content]]:
    """List segments that have no embedding under this encoder yet, by ascending key.

    Those that were set aside because the encoder could not read them are left out.

    Args:
        ws: the workspace.
        collection: whose segments.
        fingerprint: of the encoder; it need not be known yet.
        limit: at most so many.
        after_key: only keys above this one. Pass the last key seen, so that no call scans what is done.
        modalities: those that the encoder takes.
        window_s: of the index version that they are for; None means the one to come.
    """
    lacking = (
        "NOT EXISTS (SELECT 1 FROM embeddings WHERE embeddings.segment = segments.rowid"
        " AND embeddings.encoder = (SELECT rowid FROM encoders WHERE fingerprint = ?))"
    )
    return segments_lacking(ws, collection, lacking, fingerprint, limit, after_key, modalities, window_s)


def segments_lacking(
    ws: Workspace,
    collection: str,
    lacking: str,
    fingerprint: str,
    limit: int,
    after_key: int,
    modalities: Iterable[Modality],
    window_s: float | None = None,
) -> list[tuple[int, Content]]:
    """List segments for which a condition holds, whose one parameter is a fingerprint."""
    rows = ws.fetch(
        "SELECT segments.rowid, items.modality, items.text, items.uri, segments.start, segments.end"
        " FROM segments CROSS JOIN items ON items.rowid = segments.item"
        f" WHERE segments.collection = ? AND segments.rowid > ? AND {lacking}"
        " AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE dead_letters.segment = segments.rowid"
        "  AND dead_letters.encoder = ?)"
        f" AND {not_superseded(window_s)}"
        " AND items.modality IN (SELECT value FROM json_each(?))"
        " ORDER BY segments.rowid LIMIT ?",
        (
            collection_rowid(ws, collection),
            after_key,
            fingerprint,
            fingerprint,
            json.dumps([*modalities]),
            limit,
        ),
    )
    return [(key, _content(*row)) for key, *row in rows]


def split_long_items(ws: Workspace, collection: str, max_words: int, overlap: int | None = None) -> int:
    """Add spans to the items whose text is longer than an encoder reads and which have none yet.

    The whole-item segments stay, for the index that still holds them, until `drop_superseded_segments`.

    Args:
        ws: the workspace.
        collection: whose items.
        max_words: the longest text, in words, that is left whole.
        overlap: words that neighbouring spans share; None means a sixth of max_words.

    Returns:
        The number of items that were split.
    """
    chunking = Chunking(max_words, max_words // 6 if overlap is None else overlap)
    done = 0
    after_item = 0
    while True:
        rows = ws.fetch(
            "SELECT items.rowid, items.text FROM items WHERE items.collection = ? AND items.rowid > ?"
            # Most texts need not be looked at: a word takes two bytes at least, with the blank after it.
            " AND items.modality = 'text' AND length(CAST(items.text AS BLOB)) > 2 * (? - 1)"
            " AND NOT EXISTS (SELECT 1 FROM segments WHERE item = items.rowid AND start IS NOT NULL)"
            " ORDER BY items.rowid LIMIT 500",
            (collection, after_item, max_words),
        )
        if not rows:
            return done
        after_item = rows[-1][0]
        long = [(rowid, split(text, chunking)) for rowid, text in rows if is_longer(text, max_words)]
        if long:
            done += _add_spans(ws, collection, long)


def _add_spans(ws: Workspace, collection: str, items: Sequence[tuple[int, list[tuple[int, int]]]]) -> int:
    with ws.atomic() as db:
        owner = collection_rowid(ws, collection)
        alive = {
            rowid
            for (rowid,) in ws.fetch(
                "SELECT rowid FROM items WHERE rowid IN (SELECT value FROM json_each(?))",
                (json.dumps([rowid for rowid, _ in items]),),
            )
        }
        db.conn.executemany(
            "INSERT INTO segments(collection, item, start, end) VALUES (?, ?, ?, ?)",
            ((owner, rowid, *span) for rowid, spans in items if rowid in alive for span in spans),
        )
        db.execute(
            "UPDATE collections SET sequence = max(sequence, coalesce((SELECT max(rowid) FROM segments"
            " WHERE collection = ?), 0)) WHERE rowid = ?",
            (owner, owner),
        )
    return len(alive)


def drop_superseded_segments(ws: Workspace, collection: str) -> int:
    """Delete the segments, with their vectors, in whose place others are searched.

    Those are the wholes of texts that have spans, and windows of another length than the collection's.
    Those that an index version holds stay: it may be rolled back to. Call it once the index that holds
    their successors is live.

    Returns:
        The number of segments deleted.
    """
    owner = collection_rowid(ws, collection)
    with ws.atomic() as db:
        wholes = db.execute(
            "DELETE FROM segments WHERE collection = ? AND start IS NULL AND item IN"
            " (SELECT item FROM segments WHERE start IS NOT NULL)"
            " AND (SELECT modality FROM items WHERE rowid = segments.item) = 'text'"
            " AND NOT EXISTS (SELECT 1 FROM indexes WHERE indexes.collection = ? AND state = 'ready'"
            "  AND json_extract(manifest, '$.built_key') >= segments.rowid"
            "  AND json_extract(manifest, '$.built_key') < (SELECT min(span.rowid) FROM segments AS span"
            "   WHERE span.item = segments.item AND span.start IS NOT NULL))",
            (owner, collection),
        )
        windows = db.execute(
            "DELETE FROM segments WHERE collection = ? AND start IS NOT NULL"
            " AND window_s != (SELECT window_s FROM collections WHERE rowid = ?)"
            " AND window_s NOT IN (SELECT coalesce(json_extract(manifest, '$.window_s'), 0) FROM indexes"
            "  WHERE indexes.collection = ? AND state = 'ready')",
            (owner, owner, collection),
        )
        return wholes.rowcount + windows.rowcount


def as_json(keys: Keys | Sequence[int]) -> str:
    """Write keys as the JSON array that `json_each` takes: one statement, whatever their number."""
    return f"[{','.join(map(str, keys.tolist() if isinstance(keys, np.ndarray) else keys))}]"


def _content(modality: str, text: str, uri: str, start: float | None, end: float | None) -> Content:
    span = None if start is None or end is None else (start, end)
    if modality == Modality.TEXT:
        return Content(text=text if span is None else text[int(span[0]) : int(span[1])])
    return Content(Modality(modality), text, uri=uri, span_s=span)
