"""What frozen models make of segments, kept for those that train on it: one vector per layer."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.collections import collection_rowid
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel, ModelNotFound, NonFiniteVector
from retrieval.index import Keys
from retrieval.segments import NOT_SUPERSEDED, as_json, segments_lacking
from retrieval.workspace import Workspace

Features = NDArray[np.float32]

READ_BATCH = 512


def feature_set(ws: Workspace, fingerprint: str, layers: int, width: int) -> int:
    """Register the features of a frozen model, once, and return their short key.

    Raises:
        IncompatibleModel: if the fingerprint is known with another shape.
    """
    with ws.atomic() as db:
        db.execute(
            "INSERT OR IGNORE INTO feature_sets(fingerprint, layers, width) VALUES (?, ?, ?)",
            (fingerprint, layers, width),
        )
    rowid, *shape = _require(ws, fingerprint)
    if shape != [layers, width]:
        raise IncompatibleModel(
            f"features {fingerprint[:12]} are stored with shape {tuple(shape)}, got {(layers, width)}"
        )
    return rowid


def put_features(ws: Workspace, fingerprint: str, keys: Keys | Sequence[int], features: Features) -> None:
    """Store the features of segments, durably, all or none.

    Segments that have some keep them, and those deleted meanwhile are left out.

    Args:
        ws: the workspace.
        fingerprint: known through `feature_set`.
        keys: of the segments, n of them.
        features: shape (n, layers, width).

    Raises:
        ModelNotFound: if the fingerprint is not known.
        IncompatibleModel: if the features have another shape.
        NonFiniteVector: if one holds NaN or infinity.
    """
    rowid, layers, width = _require(ws, fingerprint)
    if features.shape != (len(keys), layers, width):
        raise IncompatibleModel(
            f"expected features of shape {(len(keys), layers, width)}, got {features.shape}"
        )
    if not np.isfinite(features).all():
        raise NonFiniteVector(field="features")
    with ws.atomic() as db:
        db.conn.executemany(
            'INSERT OR IGNORE INTO features(segment, feature_set, "values")'
            " SELECT rowid, ?, ? FROM segments WHERE rowid = ?",
            [
                (rowid, row.tobytes(), key)
                for key, row in zip(map(int, keys), features.astype("<f4"), strict=True)
            ],
        )


def count_features(ws: Workspace, collection: str, fingerprint: str) -> int:
    """Count the features that `read_features` would yield."""
    rows = ws.fetch(
        "SELECT count(*) FROM segments CROSS JOIN features ON features.segment = segments.rowid"
        " AND features.feature_set = (SELECT rowid FROM feature_sets WHERE fingerprint = ?)"
        f" WHERE segments.collection = ? AND {NOT_SUPERSEDED}",
        (fingerprint, collection_rowid(ws, collection)),
    )
    return int(rows[0][0])


def read_features(
    ws: Workspace, collection: str, fingerprint: str, *, without_embedding: str = ""
) -> Iterator[tuple[Keys, Features]]:
    """Yield the features of a collection's living segments, by ascending key.

    Args:
        ws: the workspace.
        collection: whose segments.
        fingerprint: of the frozen model.
        without_embedding: only of segments that have no embedding under this encoder's fingerprint.

    Yields:
        Keys of shape (n,) and features of shape (n, layers, width), n at most READ_BATCH.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotFound: if the fingerprint is not known.
    """
    owner = collection_rowid(ws, collection)
    rowid, layers, width = _require(ws, fingerprint)
    after_key = 0
    while True:
        rows = ws.fetch(
            'SELECT segments.rowid, features."values" FROM segments'
            " CROSS JOIN features ON features.segment = segments.rowid AND features.feature_set = ?"
            f" WHERE segments.collection = ? AND segments.rowid > ? AND {NOT_SUPERSEDED}"
            " AND NOT EXISTS (SELECT 1 FROM embeddings WHERE embeddings.segment = segments.rowid"
            "  AND embeddings.encoder = (SELECT rowid FROM encoders WHERE fingerprint = ?))"
            " ORDER BY segments.rowid LIMIT ?",
            (rowid, owner, after_key, without_embedding, READ_BATCH),
        )
        if not rows:
            return
        yield _arrays(rows, layers, width)
        after_key = rows[-1][0]


def pending_features(
    ws: Workspace,
    collection: str,
    fingerprint: str,
    *,
    limit: int,
    after_key: int = 0,
    modalities: Iterable[Modality],
) -> list[tuple[int, Content]]:
    """List segments that have no features under this fingerprint yet, as `pending_segments` does."""
    lacking = (
        "NOT EXISTS (SELECT 1 FROM features WHERE features.segment = segments.rowid"
        " AND features.feature_set = (SELECT rowid FROM feature_sets WHERE fingerprint = ?))"
    )
    return segments_lacking(ws, collection, lacking, fingerprint, limit, after_key, modalities)


def features_of(ws: Workspace, fingerprint: str, keys: Keys | Sequence[int]) -> tuple[Keys, Features]:
    """Return the features of those of these segments that have some, by ascending key.

    Raises:
        ModelNotFound: if the fingerprint is not known.
    """
    rowid, layers, width = _require(ws, fingerprint)
    rows = ws.fetch(
        'SELECT segment, "values" FROM json_each(?) AS wanted'
        " CROSS JOIN features ON features.segment = wanted.value AND features.feature_set = ?"
        " ORDER BY segment",
        (as_json(keys), rowid),
    )
    return _arrays(rows, layers, width)


def _arrays(rows: Sequence[tuple[int, bytes]], layers: int, width: int) -> tuple[Keys, Features]:
    keys = np.array([key for key, _ in rows], dtype=np.int64)
    values = np.frombuffer(b"".join(raw for _, raw in rows), dtype="<f4").astype(np.float32)
    return keys, values.reshape(len(rows), layers, width)


def _require(ws: Workspace, fingerprint: str) -> tuple[int, int, int]:
    rows = ws.fetch("SELECT rowid, layers, width FROM feature_sets WHERE fingerprint = ?", (fingerprint,))
    if not rows:
        raise ModelNotFound(f"no features are stored of model {fingerprint[:12]!r}")
    return rows[0][0], rows[0][1], rows[0][2]
