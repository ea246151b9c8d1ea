"""`bench redis`: Redis's vector sets beside FAISS over the same vectors."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.redis_serving import BATCH, COLLECTION, EFFORT, LIMIT, compare_servers
from evaluation.bench.result import BenchResult, BenchTable, machine_line
from retrieval.collections import create_collection
from retrieval.embeddings import encoder_row, put_embeddings, read_embeddings
from retrieval.errors import InvalidInput
from retrieval.filters import Filter
from retrieval.index import Index, Keys, Vectors
from retrieval.index_build import build_index, open_index_files
from retrieval.index_types import IndexParameters, choose_parameters
from retrieval.items import Item, upsert_items
from retrieval.local_redis import LocalRedis
from retrieval.manifest import Manifest
from retrieval.publishing import new_version_folder, promote, publish
from retrieval.redis_address import URL_VARIABLE, redis_url, use_redis
from retrieval.workspace import Workspace

FINGERPRINT = "b" * 64
SERVED = "redis"  # the version that goes live
EFFORTS = (EFFORT, 64, 128, 256, 512)
TARGET = 0.95  # recall@10 without a filter, whose effort filtered searches take
SHARES = (0.5, 0.1, 0.01, 0.001)
_WRITE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisBenchOptions:
    """What to measure, and for how long."""

    count: int = 200_000
    dims: int = 256
    storages: Sequence[str] = ("f32",)  # the first one is served
    seconds: float = 2.0  # of each spell of load
    rounds: int = 5  # of the paired measurements
    queries: int = 200
    vectors: Path | None = None  # .npy, unit rows; else clusters by chance
    query_vectors: Path | None = None


@dataclass(slots=True)
class _Measured:
    """What came of it."""

    vectors: Vectors
    queries: Vectors
    truth: NDArray[np.int64]
    tables: list[BenchTable] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)


def bench_redis(
    options: RedisBenchOptions | None = None, on_step: Callable[[str], None] = lambda step: None
) -> BenchResult:
    """Build the same vectors into Redis and FAISS, search both, and serve the one in Redis.

    Args:
        options: how much.
        on_step: called with what begins now, for people.

    Raises:
        NoRedis: if nobody said where Redis is, and none can be started here.
    """
    options = options or RedisBenchOptions()
    machine = machine_line()
    vectors, queries = _data(options)
    truth = _nearest(vectors, queries)
    measured = _Measured(vectors, queries, truth)
    with _redis(), tempfile.TemporaryDirectory() as folder:
        with Workspace(Path(folder) / "workspace", create=True) as ws:
            on_step("store items and vectors")
            _fill(ws, vectors)
            versions = [_build(ws, measured, name, on_step) for name in _kinds(options)]
            for name, index, parameters in versions:
                on_step(f"search {name}")
                measured.tables.append(_sweep(measured, name, index, parameters))
            on_step("search under filters")
            measured.tables.append(_filtered(measured, versions[0][1]))
        on_step("serve")
        table, ratios = compare_servers(
            Path(folder) / "workspace", measured.queries, options.seconds, options.rounds
        )
        measured.tables.append(table)
        measured.ratios.update(ratios)
    return BenchResult(
        name="redis",
        machine=f"{machine}, {len(vectors):,} x {vectors.shape[1]}",
        tables=measured.tables,
        figures=measured.figures,
        ratios=measured.ratios,
    )


@contextmanager
def _redis() -> Iterator[None]:
    """Take the Redis that was given, or run one for as long as the block."""
    if redis_url():
        yield
        return
    with LocalRedis() as redis:
        use_redis(redis.url)
        os.environ[URL_VARIABLE] = redis.url  # for the servers
        try:
            yield
        finally:
            use_redis("")
            del os.environ[URL_VARIABLE]


def _data(options: RedisBenchOptions) -> tuple[Vectors, Vectors]:
    if options.vectors is not None and options.query_vectors is not None:
        return _rows(options.vectors, options.count), _rows(options.query_vectors, options.queries)
    random = np.random.default_rng(0)
    centres = random.standard_normal((1000, options.dims)).astype(np.float32)
    total = options.count + options.queries
    rows = random.standard_normal((total, options.dims)).astype(np.float32)
    rows += centres[random.integers(0, len(centres), total)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[: options.count], rows[options.count :]


def _rows(file: Path, count: int) -> Vectors:
    try:
        rows = np.load(file)
    except ValueError:
        raise InvalidInput(f"{file.name}: expected a .npy file of unit rows") from None
    return np.asarray(rows[:count], np.float32)


def _nearest(vectors: Vectors, queries: Vectors, keys: Keys | None = None) -> NDArray[np.int64]:
    """Return each query's nearest keys, shape (n, 10), by exact comparison; keys count from 1."""
    chosen = np.arange(1, len(vectors) + 1) if keys is None else keys
    scores = queries @ vectors[chosen - 1].T
    best = np.argpartition(-scores, min(LIMIT, scores.shape[1] - 1), axis=1)[:, :LIMIT]
    nearest: NDArray[np.int64] = chosen[best]
    return nearest


def _recall(found: Keys, truth: Keys) -> float:
    shared = [len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
    return float(np.mean(shared))


def _fill(ws: Workspace, vectors: Vectors) -> None:
    create_collection(ws, COLLECTION)
    encoder_row(ws, FINGERPRINT, vectors.shape[1])
    for start in range(0, len(vectors), _WRITE):
        part = vectors[start : start + _WRITE]
        keys = range(start + 1, start + len(part) + 1)
        upsert_items(ws, COLLECTION, [Item(str(key), text=f"item {key}") for key in keys])
        put_embeddings(ws, FINGERPRINT, list(keys), part)


def _kinds(options: RedisBenchOptions) -> list[tuple[str, dict[str, Any]]]:
    first, *others = options.storages
    return [
        (SERVED, {"backend": "redis", "storage": first, "effort": EFFORT}),
        *[(f"redis {other}", {"backend": "redis", "storage": other, "effort": EFFORT}) for other in others],
        ("faiss hnsw f16", {"kind": "hnsw", "storage": "f16", "effort": EFFORT}),
    ]


def _build(
    ws: Workspace, measured: _Measured, kind: tuple[str, dict[str, Any]], on_step: Callable[[str], None]
) -> tuple[str, Index, IndexParameters]:
    """Build, publish and (in Redis) share one version; write down what it took."""
    name, overrides = kind
    on_step(f"build {name}")
    count, dims = measured.vectors.shape
    folder = new_version_folder(ws, COLLECTION)
    before, started = _redis_use(), time.perf_counter()
    parameters = choose_parameters(count, dims, overrides=overrides)
    batches = read_embeddings(ws, COLLECTION, FINGERPRINT)
    built = build_index(folder, batches, dims, parameters, measured.queries[:20])
    after = _redis_use()
    size = float(sum(file.stat().st_size for file in folder.iterdir()))
    if parameters.backend == "redis":
        size = after["bytes"] - before["bytes"]
    manifest = Manifest(
        collection=COLLECTION,
        fingerprint=FINGERPRINT,
        model="bench@1",
        dims=dims,
        count=count,
        built_key=count,
        parameters=built.parameters,
    )
    version = publish(ws, COLLECTION, folder, manifest)
    figures = {
        "build_s": built.build_s,
        "vectors_per_s": count / built.build_s,
        "vectors_per_redis_cpu_s": count / max(1e-9, after["cpu_s"] - before["cpu_s"]),
        "bytes_per_vector": size / count,
    }
    if name == SERVED:
        started = time.perf_counter()
        promote(ws, COLLECTION, version)
        figures["share_s"] = time.perf_counter() - started
        figures["bytes_per_item_beside"] = (_redis_use()["bytes"] - after["bytes"]) / count
    measured.figures[name] = figures
    on_step(
        f"{name}: {figures['vectors_per_s']:,.0f} vectors/s, {figures['bytes_per_vector']:,.0f} bytes each"
    )
    index = open_index_files(ws.indexes / COLLECTION / version, built.parameters)
    return name, index, built.parameters


def _redis_use() -> dict[str, float]:
    from retrieval.redis_server import redis_server

    server = redis_server()
    cpu = server.information("cpu")
    seconds = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
    return {"bytes": float(server.information("memory")["used_memory"]), "cpu_s": seconds}


def _sweep(measured: _Measured, name: str, index: Index, parameters: IndexParameters) -> BenchTable:
    """Search one by one and in batches, at several efforts."""
    rows, points = [], []
    for effort in EFFORTS:
        latencies = []
        for query in measured.queries:
            started = time.perf_counter()
            index.search(query[None], LIMIT, effort=effort)
            latencies.append((time.perf_counter() - started) * 1e3)
        started = time.perf_counter()
        found = np.concatenate(
            [
                index.search(measured.queries[at : at + BATCH], LIMIT, effort=effort).keys
                for at in range(0, len(measured.queries), BATCH)
            ]
        )
        batch_qps = len(found) / (time.perf_counter() - started)
        p50, p99 = np.percentile(latencies, [50, 99])
        recall = _recall(found, measured.truth)
        point = [float(effort), recall, 1e3 / float(np.mean(latencies)), p50, p99, batch_qps]
        points.append(
            dict(
                zip(
                    ("effort", "recall", "qps", "p50_ms", "p99_ms", "batch_qps"),
                    map(float, point),
                    strict=True,
                )
            )
        )
        rows.append(
            [
                str(effort),
                f"{recall:.4f}",
                f"{point[2]:,.0f}",
                f"{p50:.2f}",
                f"{p99:.2f}",
                f"{batch_qps:,.0f}",
            ]
        )
    measured.figures[name]["search"] = points
    figures = measured.figures[name]
    title = (
        f"{name} {parameters.storage}: built {figures['vectors_per_s']:,.0f} vectors/s,"
        f" {figures['bytes_per_vector']:,.0f} bytes per vector"
    )
    return BenchTable(title, ["effort", "recall@10", "QPS", "p50 ms", "p99 ms", "QPS in batches of 64"], rows)


class _Chosen:
    """A selection of given keys; implements `retrieval.index.Selection`."""

    def __init__(self, keys: Keys) -> None:
        self.filter = Filter()
        self.keys = keys


def _filtered(measured: _Measured, index: Index) -> BenchTable:
    """Search under filters that match by chance, and in one region of the space."""
    count = len(measured.vectors)
    random = np.random.default_rng(1)
    points = measured.figures[SERVED]["search"]
    effort = next((int(point["effort"]) for point in points if point["recall"] >= TARGET), EFFORTS[-1])
    orders = {
        "random": random.permutation(count),
        "one region": np.argsort(-(measured.vectors @ measured.vectors[int(random.integers(count))])),
    }
    rows, points = [], []
    for spread, order in orders.items():
        for share in SHARES:
            chosen = _Chosen(np.sort(order[: int(share * count)] + 1))
            point = _measure_filter(measured, index, chosen, effort) | {"spread": spread, "share": share}
            points.append(point)
            cells = [f"{share:.1%}, {spread}", f"{point['recall']:.4f}"]
            cells += [f"{point[name]:,.0f}" for name in ("first_ms", "qps", "batch_qps")]
            rows.append([*cells, point["plan"]])
    measured.figures["filtered"] = points
    columns = ["filter matches", "recall@10", "first ms", "QPS", "QPS in batches of 64", "plan"]
    return BenchTable(
        f"Filters in Redis at effort {effort} (the same filter again and again; its first search apart)",
        columns,
        rows,
    )


def _measure_filter(measured: _Measured, index: Index, chosen: _Chosen, effort: int) -> dict[str, Any]:
    queries = measured.queries[: max(BATCH, 100)]
    started = time.perf_counter()
    first = index.search(queries[:1], LIMIT, selection=chosen, effort=effort)
    first_ms = (time.perf_counter() - started) * 1e3
    alone = queries[: len(queries) // 4]
    started = time.perf_counter()
    for query in alone:
        index.search(query[None], LIMIT, selection=chosen, effort=effort)
    qps = len(alone) / (time.perf_counter() - started)
    started = time.perf_counter()
    found = [
        index.search(queries[at : at + BATCH], LIMIT, selection=chosen, effort=effort).keys
        for at in range(0, len(queries), BATCH)
    ]
    return {
        "recall": _recall(np.concatenate(found), _nearest(measured.vectors, queries, chosen.keys)),
        "first_ms": first_ms,
        "qps": qps,
        "batch_qps": len(queries) / (time.perf_counter() - started),
        "plan": first.plan,
    }
