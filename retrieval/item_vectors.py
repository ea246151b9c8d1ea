"""Items and their vectors: one vector per item for "more like this", and what is still to be encoded."""

import json
from collections.abc import Sequence

import numpy as np

from retrieval.collections import collection_rowid
from retrieval.content import Content
from retrieval.embeddings import embeddings_of
from retrieval.index import Vectors
from retrieval.segments import NOT_SUPERSEDED, in_windows, not_superseded, segment_texts
from retrieval.workspace import Workspace


def item_vectors(
    ws: Workspace, collection: str, fingerprint: str, ids: Sequence[str], window_s: float | None = None
) -> dict[str, Vectors]:
    """Return the unit vector of each of these items that is encoded: the mean over its segments.

    Args:
        ws: the workspace.
        collection: of the items.
        fingerprint: of an encoder that `embeddings` knows.
        ids: of the items; those that are missing or not encoded are left out.
        window_s: of the index version that is searched; None means the one to come.

    Returns:
        A vector of shape (dims,) by id.

    Raises:
        ModelNotFound: if the encoder is not known.
    """
    rows = ws.fetch(
        "SELECT items.id, segments.rowid FROM json_each(?) AS wanted"
        " CROSS JOIN items ON items.collection = ? AND items.id = wanted.value"
        f" CROSS JOIN segments ON segments.item = items.rowid AND {in_windows(window_s)}",
        (json.dumps(list(ids), ensure_ascii=False), collection),
    )
    owners = {key: id for id, key in rows}
    sums: dict[str, Vectors] = {}
    keys, vectors = embeddings_of(ws, fingerprint, list(owners))
    for key, vector in zip(keys.tolist(), vectors, strict=True):
        id = owners[key]
        sums[id] = sums[id] + vector if id in sums else vector
    return {id: total / np.linalg.norm(total) for id, total in sums.items()}


def pending_segments_of(
    ws: Workspace,
    collection: str,
    fingerprint: str,
    ids: Sequence[str],
    modalities: Sequence[str],
    window_s: float | None = None,
) -> list[tuple[int, Content]]:
    """List the segments of these items that have no vector of an encoder yet, by ascending key.

    Args:
        ws: the workspace.
        collection: of the items.
        fingerprint: of the encoder; it need not be known yet.
        ids: of the items; those that are missing are left out.
        modalities: those that the encoder takes.
        window_s: of the index version that they are for; None means the one to come.
    """
    rows = ws.fetch(
        "SELECT segments.rowid FROM json_each(?) AS wanted"
        " CROSS JOIN items ON items.collection = ? AND items.id = wanted.value"
        "  AND items.modality IN (SELECT value FROM json_each(?))"
        " CROSS JOIN segments ON segments.item = items.rowid"
        " WHERE NOT EXISTS (SELECT 1 FROM embeddings WHERE embeddings.segment = segments.rowid"
        "  AND embeddings.encoder = (SELECT rowid FROM encoders WHERE fingerprint = ?))"
        f" AND {not_superseded(window_s)} ORDER BY segments.rowid",
        (json.dumps(list(ids), ensure_ascii=False), collection, json.dumps(list(modalities)), fingerprint),
    )
    keys = [key for (key,) in rows]
    return list(zip(keys, segment_texts(ws, collection, keys), strict=True))


def count_segments(ws: Workspace, collection: str, *, after_key: int) -> int:
    """Count the segments of a collection above a key, but for those that are superseded.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    owner = collection_rowid(ws, collection)
    sql = f"SELECT count(*) FROM segments WHERE collection = ? AND rowid > ? AND {NOT_SUPERSEDED}"
    return int(ws.fetch(sql, (owner, after_key))[0][0])
