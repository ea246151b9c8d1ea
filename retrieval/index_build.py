"""Builds an index from a stream of vectors, and measures how hard it must be searched."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from retrieval.device import chosen_device
from retrieval.errors import DimensionMismatch, InternalError, MissingExtra, NonFiniteVector
from retrieval.exact_index import KEYS_FILE, VECTORS_FILE, ExactIndex, load_rows
from retrieval.index import Index, Keys, Vectors
from retrieval.index_types import RECALL_AT, IndexParameters
from retrieval.workspace import translate_sqlite_errors

# A unit row in half precision is off by up to 2^-11.
UNIT_TOLERANCE = 1e-3

# Vectors that quantisers and inverted lists learn from: more teach them nothing (FAISS's own advice).
TRAINING_VECTORS_PER_LIST = 64
TRAINING_VECTORS = 65_536

READ_BATCH = 8192
MAX_EFFORT = 1 << 14
SAME_SCORE = 1e-6  # two ways of summing the same products differ by less

OnProgress: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIndex:
    """What a build made."""

    parameters: IndexParameters  # with the effort and the recall that were measured
    count: int
    built_key: int  # the highest key in it, 0 if it is empty
    build_s: float
    tune_s: float


@translate_sqlite_errors()
def build_index(
    folder: Path,
    batches: Iterable[tuple[Keys, Vectors]],
    dims: int,
    parameters: IndexParameters,
    sample_queries: Vectors,
    on_progress: OnProgress | None = None,
) -> BuiltIndex:
    """Build an index into an empty folder, holding no more of the vectors in memory than the index does.

    Args:
        folder: where the files go; it must exist.
        batches: keys, ascending throughout, and their unit vectors.
        dims: the width of a vector.
        parameters: from `choose_parameters`.
        sample_queries: held-out real queries that the effort is tuned on; unit rows, shape (n, dims).
            Without any, vectors of the index stand in, which are easier to find than queries are.
        on_progress: called with the number of vectors added so far.

    Raises:
        DimensionMismatch: if a vector is of another width.
        NonFiniteVector: if one holds NaN or infinity.
        InternalError: if a vector is not of unit length, or keys do not ascend.
        StorageFull: if the disk is full.
    """
    started = time.perf_counter()
    keys: list[Keys] = []
    vectors = _checked(batches, dims, keys, on_progress or (lambda count: None))
    if parameters.backend == "exact":
        _write_vectors(folder / VECTORS_FILE, vectors, dims, parameters.storage)
    elif parameters.backend == "redis":
        pairs = ((keys[-1], batch) for batch in vectors)  # the keys of a batch were set aside just before
        redis_module("build").build_in_redis(folder, pairs, dims, parameters, folder.parent.name)
    elif parameters.kind == "ivf" or parameters.storage == "sq8":
        parameters = _build_trained(folder, vectors, dims, parameters)
    else:
        _build_streamed(folder, vectors, dims, parameters)
    all_keys = np.concatenate([np.empty(0, dtype=np.int64), *keys])
    np.save(folder / KEYS_FILE, all_keys)
    built = time.perf_counter()
    parameters = tune(open_index_files(folder, parameters), parameters, sample_queries)
    return BuiltIndex(
        parameters=parameters,
        count=len(all_keys),
        built_key=int(all_keys[-1]) if len(all_keys) else 0,
        build_s=built - started,
        tune_s=time.perf_counter() - built,
    )


def open_index_files(folder: Path, parameters: IndexParameters) -> Index:
    """Open the files of a version folder, unverified: `opening.open_index` verifies first.

    Raises:
        CorruptArtifact: if the files cannot be read or disagree.
        MissingExtra: if the backend's library is not installed.
        DeviceNotThere: if a GPU was asked for, and FAISS can use none.
    """
    if parameters.backend == "exact":
        return ExactIndex.open(folder)
    if parameters.backend == "redis":
        return redis_module("index").RedisIndex.open(folder, parameters)  # type: ignore[no-any-return]
    on_gpu = chosen_device() == "cuda"
    index = _faiss_module("gpu").GpuFaissIndex if on_gpu else _faiss_module("index").FaissIndex
    return index.open(folder, parameters)  # type: ignore[no-any-return]


def _faiss_module(module: str) -> Any:
    """Import a module of the FAISS backend on first use: it takes longer than everything else here."""
    return _import(f"retrieval.faiss_{module}", library="faiss", backend="the FAISS backend", extra="cpu")


def redis_module(module: str) -> Any:
    """Import a module of the Redis backend on first use: few need it."""
    return _import(f"retrieval.redis_{module}", library="redis", backend="the Redis backend", extra="redis")


def _import(module: str, *, library: str, backend: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        if error.name != library:
            raise
        raise MissingExtra(backend, extra) from error


def _checked(
    batches: Iterable[tuple[Keys, Vectors]], dims: int, keys: list[Keys], on_progress: OnProgress
) -> Iterator[Vectors]:
    """Check each batch, set its keys aside and pass its vectors on."""
    done, last = 0, 0
    for batch_keys, vectors in batches:
        if not len(batch_keys):
            continue
        check_vectors(vectors, dims)
        if batch_keys[0] <= last or (np.diff(batch_keys) <= 0).any():
            raise InternalError("expected keys that ascend")
        last = int(batch_keys[-1])
        keys.append(np.array(batch_keys, dtype=np.int64))
        yield vectors
        done += len(batch_keys)
        on_progress(done)


def check_vectors(vectors: Vectors, dims: int) -> None:
    """Refuse vectors that no index may hold.

    Raises:
        DimensionMismatch: if they are of another width.
        NonFiniteVector: if one holds NaN or infinity.
        InternalError: if one is not of unit length.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dims:
        raise DimensionMismatch(dims, vectors.shape[-1])
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float32)
    if not np.isfinite(squares).all():
        raise NonFiniteVector()
    if (np.abs(squares - 1) > 2 * UNIT_TOLERANCE).any():
        raise InternalError("expected vectors of unit length")


def _build_streamed(folder: Path, vectors: Iterable[Vectors], dims: int, parameters: IndexParameters) -> None:
    builder = _faiss_module("build").FaissBuilder(dims, parameters)
    for batch in vectors:
        builder.add(batch)
    builder.write(folder)


def _build_trained(
    folder: Path, vectors: Iterable[Vectors], dims: int, parameters: IndexParameters
) -> IndexParameters:
    """Write the vectors first: training needs a sample of all, and scores come from them."""
    storage = "f32" if parameters.storage == "f32" else "f16"
    _write_vectors(folder / VECTORS_FILE, vectors, dims, storage)
    rows = load_rows(folder / VECTORS_FILE)
    if parameters.kind == "ivf":  # no more lists than vectors
        parameters = replace(parameters, nlist=max(1, min(parameters.nlist, len(rows))))
    builder = _faiss_module("build").FaissBuilder(dims, parameters)
    wanted = max(TRAINING_VECTORS_PER_LIST * parameters.nlist, TRAINING_VECTORS)
    sample = np.random.default_rng(0).permutation(len(rows))[:wanted]
    builder.train(rows[np.sort(sample)].astype(np.float32))
    for start in range(0, len(rows), READ_BATCH):
        builder.add(rows[start : start + READ_BATCH].astype(np.float32))
    builder.write(folder)
    return parameters


def _write_vectors(file: Path, batches: Iterable[Vectors], dims: int, storage: str) -> None:
    """Write vectors as a .npy file whose length is known only at the end."""
    dtype = np.dtype("<f4" if storage == "f32" else "<f2")
    count = 0
    with file.open("wb") as out:
        _write_header(out, 0, dims, dtype)
        for batch in batches:
            out.write(np.ascontiguousarray(batch, dtype=dtype).data)
            count += len(batch)
        out.seek(0)
        _write_header(out, count, dims, dtype)  # numpy leaves room for the first dimension to grow


def _write_header(out: BinaryIO, count: int, dims: int, dtype: np.dtype[Any]) -> None:
    write_array_header_1_0(out, {"descr": dtype.str, "fortran_order": False, "shape": (count, dims)})


def tune(index: Index, parameters: IndexParameters, queries: Vectors) -> IndexParameters:
    """Find the least effort that reaches the recall target, and measure the recall that it has.

    One half of the queries chooses the effort, with a standard error to spare; the other half tells
    the recall.

    Returns:
        The parameters with `effort` (kept if it was set), `recall` and `recall_queries` filled in.
    """
    if parameters.kind == "flat" or len(index.keys) <= RECALL_AT:
        return replace(parameters, effort=parameters.effort or 1, recall=1.0, recall_queries=0)
    if not len(queries):
        queries = _own_vectors(index)
    choosing, telling = (queries[::2], queries[1::2]) if len(queries) >= 20 else (queries, queries)
    if not parameters.effort:
        limit = parameters.nlist if parameters.kind == "ivf" else MAX_EFFORT
        effort = _least_effort(index, choosing, parameters.recall_target, limit)
        parameters = replace(parameters, effort=effort)
    found = recalls(index, telling, exact_scores(index, telling), parameters.effort)
    return replace(parameters, recall=round(float(found.mean()), 4), recall_queries=len(telling))


def _own_vectors(index: Index) -> Vectors:
    chosen = np.random.default_rng(0).permutation(len(index.keys))[:400]
    return index.vectors(index.keys[np.sort(chosen)])


def _least_effort(index: Index, queries: Vectors, target: float, limit: int) -> int:
    """Double the effort until it suffices, then halve the gap until it is within five percent."""
    truth = exact_scores(index, queries)

    def suffices(effort: int) -> bool:
        found = recalls(index, queries, truth, effort)
        spare = float(found.std()) / len(found) ** 0.5
        return bool(found.mean() >= min(1.0, target + spare))

    low, high = 0, 8
    while high < limit and not suffices(high):
        low, high = high, 2 * high
    high = min(high, limit)
    while high - low > max(1, high // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def exact_scores(index: Index, queries: Vectors) -> NDArray[np.float64]:
    """Return the scores of each query's ten nearest, by exact search."""
    return index.search(queries, RECALL_AT, exact=True).scores


def recalls(index: Index, queries: Vectors, truth: NDArray[np.float64], effort: int) -> NDArray[np.float64]:
    """Return recall@10 for each query, shape (n,).

    A neighbour counts if it is as near as the tenth nearest, for among equals none is the right one.
    """
    scores = index.search(queries, RECALL_AT, effort=effort).scores
    there = np.isfinite(truth)
    found = (scores >= truth.min(axis=1, where=there, initial=np.inf)[:, None] - SAME_SCORE) & there
    result: NDArray[np.float64] = found.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return result
