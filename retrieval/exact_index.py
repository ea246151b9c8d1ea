"""The exact index: a scan in numpy, the yardstick of every other backend and the home of fresh vectors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import CorruptArtifact, DimensionMismatch, NonFiniteVector
from retrieval.index import NO_KEY, Capabilities, Keys, Neighbors, Selection, Vectors

KEYS_FILE = "keys.npy"
VECTORS_FILE = "vectors.npy"

# Sums of the same products in another order differ by about 1e-7.
SCORE_DECIMALS = 6

Rows: TypeAlias = NDArray[Any]  # shape (count, dims), float16 or float32, often a memory map

# Bounds the scratch memory of a scan: rows decoded at a time, and scores held at a time.
SCAN_ROWS = 16_384
SCAN_QUERIES = 256


class ExactIndex:
    """Vectors in one array, compared with every query. Implements `retrieval.index.Index`."""

    def __init__(self, keys: Keys, rows: Rows) -> None:
        """Wrap vectors that are already there.

        Args:
            keys: ascending, shape (count,).
            rows: unit rows in the order of the keys, shape (count, dims).
        """
        self._keys = keys
        self._rows = rows

    @classmethod
    def open(cls, folder: Path) -> "ExactIndex":
        """Map the files of a folder, reading nothing yet.

        Raises:
            CorruptArtifact: if they are not what they claim, or disagree about the count.
        """
        keys, rows = load_keys(folder / KEYS_FILE), load_rows(folder / VECTORS_FILE)
        if len(keys) != len(rows):
            raise CorruptArtifact(f"{VECTORS_FILE} holds {len(rows)} vectors, {KEYS_FILE} {len(keys)}")
        return cls(keys, rows)

    @property
    def dims(self) -> int:
        """The width of a vector."""
        return int(self._rows.shape[1])

    @property
    def keys(self) -> Keys:
        """The keys of all vectors, ascending."""
        return self._keys

    @property
    def capabilities(self) -> Capabilities:
        """What this index can do."""
        return Capabilities(
            backend="exact",
            filtered_search=True,
            exact_search=True,
            returns_vectors=True,
            memory_mapped=isinstance(self._rows, np.memmap),
            gpu=False,
        )

    def search(
        self,
        queries: Vectors,
        limit: int,
        *,
        selection: Selection | None = None,
        effort: int = 0,
        exact: bool = False,
        allow_partial: bool = False,
    ) -> Neighbors:
        """Find the nearest vectors of each query; the options change nothing here."""
        check_queries(queries, self.dims)
        positions = None if selection is None else positions_of(self._keys, selection.keys)
        found, scores = scan(self._rows, queries, limit, positions)
        plan = "exact" if selection is None else "exact over the matching rows"
        return neighbors(self._keys, found, scores, limit, plan)

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order."""
        return rows_of(self._keys, self._rows, keys)

    def close(self) -> None:
        """Nothing is held but memory, which the garbage collector frees."""


def load_keys(file: Path) -> Keys:
    """Map a file of keys read-only, shape (count,).

    Raises:
        CorruptArtifact: if it is none.
    """
    return _load_array(file, 1, "i8")


def load_rows(file: Path) -> Rows:
    """Map a file of float16 or float32 rows read-only, shape (count, dims).

    Raises:
        CorruptArtifact: if it is none.
    """
    return _load_array(file, 2, "f2", "f4")


def _load_array(file: Path, dimensions: int, *types: str) -> NDArray[Any]:
    """Map an array; archives and objects (pickles) are refused unopened."""
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except (FileNotFoundError, IsADirectoryError, ValueError) as error:
        raise CorruptArtifact(f"{file.name} cannot be read") from error
    if array.ndim != dimensions or array.dtype.str[1:] not in types:
        raise CorruptArtifact(f"{file.name} holds {array.dtype} of the shape {array.shape}")
    return array


def check_queries(queries: Vectors, dims: int) -> None:
    """Refuse queries that no index may see.

    Raises:
        DimensionMismatch: if they are of another width.
        NonFiniteVector: if one holds NaN or infinity.
    """
    if queries.ndim != 2 or queries.shape[1] != dims:
        raise DimensionMismatch(dims, queries.shape[-1] if queries.ndim else 0)
    # A sum is finite exactly when all of it is (unit rows cannot overflow), and needs no mask.
    if not np.isfinite(queries.sum(dtype=np.float64)):
        raise NonFiniteVector()


def positions_of(all_keys: Keys, keys: Keys) -> NDArray[np.int64]:
    """Find where keys stand in `all_keys`, leaving out those that are not there; both ascending."""
    if not len(all_keys) or not len(keys):
        return np.empty(0, dtype=np.int64)
    if len(all_keys) < len(keys):
        return np.flatnonzero(holds(keys, all_keys))
    positions = np.searchsorted(all_keys, keys)
    positions[positions == len(all_keys)] = 0
    kept: NDArray[np.int64] = positions[all_keys[positions] == keys]
    return kept


def holds(all_keys: Keys, keys: Keys) -> NDArray[np.bool_]:
    """Tell which keys are among `all_keys`, which ascend: shape (n,)."""
    positions = np.searchsorted(all_keys, keys)
    inside = positions < len(all_keys)
    inside[inside] = all_keys[positions[inside]] == keys[inside]
    return inside


def rows_of(all_keys: Keys, rows: Rows, keys: Keys) -> Vectors:
    """Return the rows of keys in any order, as float32.

    Raises:
        KeyError: if a key is not there.
    """
    if not holds(all_keys, keys).all():
        raise KeyError("a key is not in the index")
    return rows[np.searchsorted(all_keys, keys)].astype(np.float32)


def scan(
    rows: Rows, queries: Vectors, limit: int, positions: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compare queries with every row, or with the rows at some positions.

    Args:
        rows: unit rows, shape (count, dims).
        queries: unit rows, shape (n, dims).
        limit: neighbours per query.
        positions: rows to look at, ascending; None = all.

    Returns:
        Positions and scores, best first, ties by position; both of shape (n, min(limit, rows looked at)).
    """
    looked_at = len(rows) if positions is None else len(positions)
    width = min(limit, looked_at)
    found = np.empty((len(queries), width), dtype=np.int64)
    scores = np.empty((len(queries), width), dtype=np.float32)
    for start in range(0, len(queries), SCAN_QUERIES):
        part = slice(start, start + SCAN_QUERIES)
        found[part], scores[part] = _scan_part(rows, queries[part], width, positions)
    return found, scores


def _scan_part(
    rows: Rows, queries: Vectors, width: int, positions: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    best = np.empty((len(queries), 0), dtype=np.int64)
    best_scores = np.empty((len(queries), 0), dtype=np.float32)
    for at, chunk in _chunks(rows, positions):
        scores = queries @ chunk.T
        if scores.shape[1] > 2 * width:
            kept = np.argpartition(-scores, width - 1, axis=1)[:, :width]
            scores = np.take_along_axis(scores, kept, axis=1)
            at_kept = at[kept]
        else:
            at_kept = np.broadcast_to(at, scores.shape)
        best = np.concatenate([best, at_kept], axis=1)
        best_scores = np.concatenate([best_scores, scores], axis=1)
        order = np.lexsort((best, -best_scores), axis=1)[:, :width]
        best = np.take_along_axis(best, order, axis=1)
        best_scores = np.take_along_axis(best_scores, order, axis=1)
    return best, best_scores


def _chunks(rows: Rows, positions: NDArray[np.int64] | None) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    looked_at = len(rows) if positions is None else len(positions)
    for start in range(0, looked_at, SCAN_ROWS):
        end = min(start + SCAN_ROWS, looked_at)
        if positions is None:
            yield np.arange(start, end), rows[start:end].astype(np.float32, copy=False)
        else:
            at = positions[start:end]
            yield at, rows[at].astype(np.float32, copy=False)


def neighbors(
    keys: Keys, found: NDArray[np.int64], scores: NDArray[np.float32], limit: int, plan: str
) -> Neighbors:
    """Turn positions into keys, order ties by key, and fill up rows that have fewer than `limit`.

    Position -1 is none. Scores are rounded so that equal vectors score the same, however the sum was made.
    """
    if found.size == 0:
        shape = (len(found), limit)
        return Neighbors(np.full(shape, NO_KEY), np.full(shape, -np.inf), plan)
    named, cosines = keys[found], scores.astype(np.float64).round(SCORE_DECIMALS)
    if found.min() < 0:
        missing = found < 0
        named = np.where(missing, NO_KEY, named)
        cosines = np.where(missing, -np.inf, cosines)
    tied = np.flatnonzero((cosines[:, 1:] >= cosines[:, :-1]).any(axis=1))
    if len(tied):
        order = np.lexsort((named[tied], -cosines[tied]), axis=1)
        named[tied] = np.take_along_axis(named[tied], order, axis=1)
        cosines[tied] = np.take_along_axis(cosines[tied], order, axis=1)
    short = limit - found.shape[1]
    if short > 0:
        named = np.pad(named, ((0, 0), (0, short)), constant_values=NO_KEY)
        cosines = np.pad(cosines, ((0, 0), (0, short)), constant_values=-np.inf)
    return Neighbors(named, cosines, plan)
