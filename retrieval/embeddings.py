"""The vectors of segments, by encoder: raw little-endian bytes, never pickle."""

from collections.abc import Iterator, Sequence

import numpy as np

from retrieval.collections import collection_rowid
from retrieval.errors import CorruptArtifact, IncompatibleModel, InvalidInput, ModelNotFound
from retrieval.failpoints import failpoint
from retrieval.index import Keys, Vectors
from retrieval.segments import NOT_SUPERSEDED, as_json, not_superseded
from retrieval.vector_checks import check_unit_vectors
from retrieval.workspace import Workspace, now

DTYPES = ("<f4", "<f2")


def encoder_row(ws: Workspace, card_fingerprint: str, dims: int, dtype: str = "<f4") -> int:
    """Register an encoder's fingerprint, once, and return its short key.

    Args:
        ws: the workspace.
        card_fingerprint: of the encoder's card.
        dims: the width of its vectors.
        dtype: how its vectors are stored: `<f4` or `<f2`.

    Raises:
        InvalidInput: if the dtype is neither.
        IncompatibleModel: if the fingerprint is known with another width or dtype.
    """
    if dtype not in DTYPES or dims < 1:
        raise InvalidInput(f"expected dims >= 1 and a dtype of {DTYPES}, got {dims} and {dtype!r}")
    known = _find(ws, card_fingerprint)
    if known is None:
        with ws.atomic() as db:
            db.execute(
                "INSERT OR IGNORE INTO encoders(fingerprint, dims, dtype) VALUES (?, ?, ?)",
                (card_fingerprint, dims, dtype),
            )
        known = _require(ws, card_fingerprint)
    rowid, known_dims, known_dtype = known
    if (known_dims, known_dtype) != (dims, dtype):
        raise IncompatibleModel(
            f"encoder {card_fingerprint[:12]} is stored with {known_dims} dimensions as {known_dtype},"
            f" got {dims} as {dtype}"
        )
    return rowid


def _find(ws: Workspace, fingerprint: str) -> tuple[int, int, str] | None:
    rows = ws.fetch("SELECT rowid, dims, dtype FROM encoders WHERE fingerprint = ?", (fingerprint,))
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else None


def _require(ws: Workspace, fingerprint: str) -> tuple[int, int, str]:
    known = _find(ws, fingerprint)
    if known is None:
        raise ModelNotFound(f"no vectors are stored of encoder {fingerprint[:12]!r}")
    return known


def put_embeddings(ws: Workspace, fingerprint: str, keys: Keys | Sequence[int], vectors: Vectors) -> int:
    """Store the vectors of segments, durably, all or none.

    Segments that have a vector of this encoder keep it, and those deleted meanwhile are left out.

    Args:
        ws: the workspace.
        fingerprint: of an encoder known through `encoder_row`.
        keys: of the segments, n of them.
        vectors: unit rows, shape (n, dims); float64 is cast.

    Returns:
        The number of vectors stored.

    Raises:
        ModelNotFound: if the encoder is not known.
        DimensionMismatch: if the vectors are of another width.
        NonFiniteVector: if one holds NaN or infinity.
        ZeroVector: if one is all zeros.
        InvalidInput: if one is not of length 1, or there are not as many as keys.
    """
    encoder, dims, dtype = _require(ws, fingerprint)
    checked = check_unit_vectors(vectors, dims)
    if len(keys) != len(checked):
        raise InvalidInput(f"vectors: expected one per key, {len(keys)}, got {len(checked)}", field="vectors")
    raw = checked.astype(dtype)
    created_at = now()
    with ws.atomic() as db:
        alive = {
            key
            for (key,) in ws.fetch(
                "SELECT segments.rowid FROM json_each(?) AS wanted"
                " CROSS JOIN segments ON segments.rowid = wanted.value",
                (as_json(keys),),
            )
        }
        before = db.conn.total_changes
        db.conn.executemany(
            "INSERT OR IGNORE INTO embeddings(encoder, segment, vector, created_at) VALUES (?, ?, ?, ?)",
            [
                (encoder, key, row.tobytes(), created_at)
                for key, row in zip(map(int, keys), raw, strict=True)
                if key in alive
            ],
        )
        stored = db.conn.total_changes - before
        failpoint("vectors-not-committed")
    failpoint("vectors-committed")
    return stored


def share_embeddings(ws: Workspace, known: str, same: str) -> int:
    """Give an encoder the vectors of another one whose item side is the very same.

    Args:
        ws: the workspace.
        known: the fingerprint of the encoder that made the vectors.
        same: the fingerprint of the one that would make the same.

    Returns:
        The number of vectors stored.

    Raises:
        ModelNotFound: if there are no vectors of the first encoder.
    """
    source, dims, dtype = _require(ws, known)
    target = encoder_row(ws, same, dims, dtype)
    with ws.atomic() as db:
        before = db.conn.total_changes
        db.execute(
            "INSERT OR IGNORE INTO embeddings(encoder, segment, vector, created_at)"
            " SELECT ?, segment, vector, ? FROM embeddings WHERE encoder = ?",
            (target, now(), source),
        )
        return int(db.conn.total_changes - before)


def read_embeddings(
    ws: Workspace,
    collection: str,
    fingerprint: str,
    *,
    after_key: int = 0,
    batch: int = 8192,
    window_s: float | None = None,
) -> Iterator[tuple[Keys, Vectors]]:
    """Yield the vectors of a collection's living segments, by ascending key.

    Those that are superseded are left out. No transaction stays open between batches, so what is written
    meanwhile above the last key is found as well.

    Args:
        ws: the workspace.
        collection: whose segments.
        fingerprint: of the encoder.
        after_key: only keys above this one.
        batch: yield at most so many together.
        window_s: of the index version that they are for; None means the one to come.

    Yields:
        Keys of shape (n,) and vectors of shape (n, dims), n at most `batch`.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotFound: if the encoder is not known.
    """
    owner = collection_rowid(ws, collection)
    encoder, dims, dtype = _require(ws, fingerprint)
    while True:
        rows = ws.fetch(
            "SELECT segments.rowid, embeddings.vector FROM segments"
            " CROSS JOIN embeddings ON embeddings.encoder = ? AND embeddings.segment = segments.rowid"
            f" WHERE segments.collection = ? AND segments.rowid > ? AND {not_superseded(window_s)}"
            " ORDER BY segments.rowid LIMIT ?",
            (encoder, owner, after_key, batch),
        )
        if not rows:
            return
        keys, vectors = _arrays(rows, dims, dtype)
        yield keys, vectors
        after_key = int(keys[-1])


def count_embeddings(ws: Workspace, collection: str, fingerprint: str) -> int:
    """Count the vectors that `read_embeddings` would yield; 0 for an encoder that is not known.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    return int(
        ws.fetch(
            "SELECT count(*) FROM segments CROSS JOIN embeddings ON embeddings.segment = segments.rowid"
            " AND embeddings.encoder = (SELECT rowid FROM encoders WHERE fingerprint = ?)"
            f" WHERE segments.collection = ? AND {NOT_SUPERSEDED}",
            (fingerprint, collection_rowid(ws, collection)),
        )[0][0]
    )


def embedded_keys(ws: Workspace, collection: str, fingerprint: str, *, window_s: float | None = None) -> Keys:
    """Return the keys that `read_embeddings` would yield, ascending; none for an encoder that is not known.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    rows = ws.fetch(
        "SELECT segments.rowid FROM segments CROSS JOIN embeddings ON embeddings.segment = segments.rowid"
        " AND embeddings.encoder = (SELECT rowid FROM encoders WHERE fingerprint = ?)"
        f" WHERE segments.collection = ? AND {not_superseded(window_s)} ORDER BY segments.rowid",
        (fingerprint, collection_rowid(ws, collection)),
    )
    return np.fromiter((key for (key,) in rows), dtype=np.int64, count=len(rows))


def embeddings_of(ws: Workspace, fingerprint: str, keys: Keys | Sequence[int]) -> tuple[Keys, Vectors]:
    """Return the vectors of these segments that have one, by ascending key.

    Raises:
        ModelNotFound: if the encoder is not known.
    """
    encoder, dims, dtype = _require(ws, fingerprint)
    rows = ws.fetch(
        "SELECT embeddings.segment, embeddings.vector FROM json_each(?) AS wanted CROSS JOIN embeddings"
        " ON embeddings.encoder = ? AND embeddings.segment = wanted.value",
        (as_json(sorted(set(map(int, keys)))), encoder),
    )
    return _arrays(rows, dims, dtype)


def _arrays(rows: Sequence[tuple[int, bytes]], dims: int, dtype: str) -> tuple[Keys, Vectors]:
    keys = np.fromiter((key for key, _ in rows), dtype=np.int64, count=len(rows))
    width = dims * np.dtype(dtype).itemsize
    if any(len(vector) != width for _, vector in rows):
        raise CorruptArtifact(f"the database holds a vector that is not of {dims} numbers")
    raw = np.frombuffer(b"".join([vector for _, vector in rows]), dtype=dtype).reshape(-1, dims)
    if dtype == "<f4":
        return keys, raw.astype(np.float32)  # a copy: writable
    vectors = raw.astype(np.float32)
    return keys, vectors / np.linalg.norm(
        vectors, axis=1, keepdims=True
    )  # rounding moved them off the sphere
