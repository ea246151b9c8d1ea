"""`bench search`: what a query costs the server, beside the bare index in the same run."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from evaluation.bench.filtered import FilteredPoint, filtered_table, measure_filtered
from evaluation.bench.load import Load, LoadResult
from evaluation.bench.processes import ServerProcess
from evaluation.bench.result import BenchResult, BenchTable, PairedRatio, machine_line, paired_ratio
from evaluation.evaluate import open_system
from evaluation.index_quality import ann_recall
from evaluation.measurement import System, encode_queries
from retrieval.errors import InvalidInput
from retrieval.index import Vectors
from retrieval.judgements import JudgedQuery, judged_queries
from retrieval.workspace import Workspace

OnStep: TypeAlias = Callable[[str], None]

LIMIT = 10
BATCH = 64
BATCHES_IN_FLIGHT = 16  # on connections of their own, so that every worker has some
_QUERIES = 1000
_WARM_S = 1.0
_IN_PROCESS, _BATCH, _VECTOR, _TEXT = "in process", "batch of 64 vectors", "vector", "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchBenchOptions:
    """How long and how much to measure."""

    seconds: float = 2.0  # of each spell of load
    rounds: int = 5  # of the paired measurements
    in_flight: int = 64  # calls under way in the paired measurements
    clients: tuple[int, ...] = (1, 8, 64)  # of the sweep
    filtered: bool = True
    workers: int = 0  # of the server; 0 = one per core


def bench_search(
    root: Path, collection: str, options: SearchBenchOptions | None = None, on_step: OnStep | None = None
) -> BenchResult:
    """Measure a workspace's live index through a server of its own, and without one.

    Args:
        root: the workspace; nothing is written into it.
        collection: with a live index and judged queries, whose texts are the load.
        options: how long and how much.
        on_step: called with what begins now, for people.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotLoaded: if it has no live index.
        InvalidInput: if it has no judged queries.
        InternalError: if the server or a load generator fails.
    """
    options, on_step = options or SearchBenchOptions(), on_step or (lambda step: None)
    machine = machine_line()
    with Workspace(root) as ws, tempfile.TemporaryDirectory() as folder:
        system = open_system(ws, collection)
        queries = _queries(ws, collection)
        vectors = encode_queries(system.encoder, queries)
        on_step("start the server")
        workers = ("--workers", str(options.workers))
        with ServerProcess(root, *workers) as server, Load(server) as load:
            _prepare(load, collection, queries, vectors, Path(folder))
            bench = _SearchBench(system, vectors, server, load, options, on_step)
            measured = bench.run()
        points: list[FilteredPoint] = []
        if options.filtered:
            on_step("filtered search")
            points = measure_filtered(root, collection, vectors)
        system.opened.index.close()
    return _result(machine, system, measured, points)


def _queries(ws: Workspace, collection: str) -> list[JudgedQuery]:
    queries = judged_queries(ws, collection, "test") or judged_queries(ws, collection)
    if not queries:
        raise InvalidInput(f"collection {collection!r} has no judged queries to search with: import some")
    return queries[:_QUERIES]


def _prepare(
    load: Load, collection: str, queries: Sequence[JudgedQuery], vectors: Vectors, folder: Path
) -> None:
    np.save(folder / "vectors.npy", vectors)
    (folder / "texts.json").write_text(json.dumps([query.text for query in queries]))
    by_vector = {"collection": collection, "limit": LIMIT, "vectors": str(folder / "vectors.npy")}
    by_text = {"collection": collection, "limit": LIMIT, "texts": str(folder / "texts.json")}
    load.prepare(_VECTOR, **by_vector)
    load.prepare("exact", **by_vector, exact=True)
    load.prepare(_BATCH, **by_vector, batch=BATCH)
    load.prepare(_TEXT, **by_text)
    load.prepare("batch of 64 texts", **by_text, batch=BATCH)
    load.prepare("hybrid", **by_text, hybrid=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """Everything that was measured through the server."""

    ready_s: float
    rss_mb: float
    private_mb: float
    index_recall: float
    served_recall: float
    in_process_qps: list[float]
    rounds: dict[str, list[LoadResult]]
    sweep: list[tuple[str, int, LoadResult]]
    half_load: LoadResult


@dataclass(frozen=True, slots=True)
class _SearchBench:
    system: System
    vectors: Vectors
    server: ServerProcess
    load: Load
    options: SearchBenchOptions
    on_step: OnStep

    def run(self) -> _Measured:
        """Warm up, then measure in rounds, over clients, and at half load."""
        for name in (_VECTOR, _TEXT, _BATCH):
            self.load.run(name, seconds=_WARM_S, in_flight=self.options.in_flight)
        self.on_step("recall")
        served_recall = overlap(self.load.found_ids(_VECTOR), self.load.found_ids("exact"))
        in_process, rounds = self._rounds()
        sweep = self._sweep()
        fastest = max(result.queries_per_second for name, _, result in sweep if name == _VECTOR)
        self.on_step("open loop at half load")
        half_load = self.load.run(_VECTOR, seconds=2 * self.options.seconds, rate=fastest / 2)
        return _Measured(
            ready_s=self.server.ready_s,
            rss_mb=self.server.rss_mb(),
            private_mb=self.server.private_mb(),
            index_recall=ann_recall(self.system.opened, self.vectors),
            served_recall=served_recall,
            in_process_qps=in_process,
            rounds=rounds,
            sweep=sweep,
            half_load=half_load,
        )

    def _rounds(self) -> tuple[list[float], dict[str, list[LoadResult]]]:
        in_process: list[float] = []
        rounds: dict[str, list[LoadResult]] = {_BATCH: [], _VECTOR: [], _TEXT: []}
        for number in range(self.options.rounds):
            self.on_step(f"round {number + 1} of {self.options.rounds}")
            in_process.append(self._in_process_qps())
            # The order turns round by round, so that a drift of the machine hits each alike.
            names = [_BATCH, _VECTOR, _TEXT] if number % 2 == 0 else [_TEXT, _VECTOR, _BATCH]
            for name in names:
                in_flight = BATCHES_IN_FLIGHT if name == _BATCH else self.options.in_flight
                rounds[name].append(self._run(name, in_flight))
        return in_process, rounds

    def _sweep(self) -> list[tuple[str, int, LoadResult]]:
        results = []
        for name in (_VECTOR, _TEXT, "hybrid"):
            for clients in self.options.clients:
                self.on_step(f"{name}, {clients} clients")
                results.append((name, clients, self._run(name, clients)))
        for name in (_BATCH, "batch of 64 texts"):
            results.append((name, BATCHES_IN_FLIGHT, self._run(name, BATCHES_IN_FLIGHT)))
        return results

    def _run(self, name: str, in_flight: int) -> LoadResult:
        return self.load.run(name, seconds=self.options.seconds, in_flight=in_flight)

    def _in_process_qps(self) -> float:
        """Search the bare index with all queries at once, on all cores."""
        index, done = self.system.opened.index, 0
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < self.options.seconds:
            index.search(self.vectors, LIMIT)
            done += len(self.vectors)
        return done / elapsed


def overlap(found: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> float:
    """Measure which share of the true ids was found, averaged over queries that have any.

    >>> overlap([["a", "x"], []], [["a", "b"], []])
    0.5
    """
    shares = [len(set(ids) & set(true)) / len(true) for ids, true in zip(found, truth, strict=True) if true]
    return float(np.mean(shares)) if shares else 1.0


def _result(
    machine: str, system: System, measured: _Measured, points: Sequence[FilteredPoint]
) -> BenchResult:
    ratios = _ratios(measured)
    manifest = system.opened.manifest
    rounds = {name: results[len(results) // 2].to_json() for name, results in measured.rounds.items()}
    figures: dict[str, Any] = {
        "n": manifest.count,
        "dims": manifest.dims,
        "index": {
            "kind": manifest.parameters.kind,
            "storage": manifest.parameters.storage,
            "effort": manifest.parameters.effort,
            "recall@10": measured.index_recall,
        },
        "server": {
            "ready_s": measured.ready_s,
            "rss_mb": measured.rss_mb,
            "private_mb": measured.private_mb,
            "recall@10": measured.served_recall,
        },
        "in_process_qps": float(np.median(measured.in_process_qps)),
        "rounds": rounds,
        "sweep": [
            {"query": name, "clients": clients, **result.to_json()}
            for name, clients, result in measured.sweep
        ],
        "half_load": measured.half_load.to_json(),
        "filtered": [point.to_json() for point in points],
        "ratio_spread": {name: [ratio.low, ratio.high] for name, ratio in ratios.items()},
    }
    return BenchResult(
        name="search",
        machine=machine,
        tables=_tables(system, measured, ratios, points),
        figures=figures,
        ratios={name: ratio.median for name, ratio in ratios.items()},
    )


def _ratios(measured: _Measured) -> dict[str, PairedRatio]:
    rounds = measured.rounds
    vector_us = [result.server_cpu_us for result in rounds[_VECTOR]]
    half = measured.half_load
    p99_over_p50 = half.percentile_ms(99) / half.percentile_ms(50)
    return {
        "text_over_vector_cpu": paired_ratio([result.server_cpu_us for result in rounds[_TEXT]], vector_us),
        "batch64_over_in_process": paired_ratio(
            [result.queries_per_second for result in rounds[_BATCH]], measured.in_process_qps
        ),
        "unary_over_in_process": paired_ratio(
            [result.queries_per_second for result in rounds[_VECTOR]], measured.in_process_qps
        ),
        "p99_over_p50_at_half_load": PairedRatio(p99_over_p50, p99_over_p50, p99_over_p50, 1),
    }


def _tables(
    system: System,
    measured: _Measured,
    ratios: dict[str, PairedRatio],
    points: Sequence[FilteredPoint],
) -> list[BenchTable]:
    manifest, parameters = system.opened.manifest, system.opened.manifest.parameters
    title = (
        f"{manifest.count:,} x {manifest.dims}, {parameters.kind} {parameters.storage}, "
        f"effort {parameters.effort}, recall@10 {measured.index_recall:.3f}, limit {LIMIT}"
    )
    rows = [_load_row(name, str(clients), result) for name, clients, result in measured.sweep]
    rows.append(_load_row("vector, at half load", "open loop", measured.half_load))
    in_process = f"{np.median(measured.in_process_qps):,.0f}"
    rows.insert(0, [_IN_PROCESS + ", all cores", "-", in_process, "", "", "", "", "", "", ""])
    columns = ["query", "calls in flight", "QPS", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms"]
    columns += ["server CPU us", "server cores", "generator cores"]
    tables = [
        BenchTable(title, columns, rows),
        BenchTable(
            "Ratios, paired in each round",
            ["ratio", "median (extremes)"],
            [[name, str(ratio)] for name, ratio in ratios.items()],
        ),
        BenchTable(
            "Server",
            ["ready s", "resident MB", "of it private", "recall@10 served"],
            [
                [
                    f"{measured.ready_s:.2f}",
                    f"{measured.rss_mb:.0f}",
                    f"{measured.private_mb:.0f}",
                    f"{measured.served_recall:.4f}",
                ]
            ],
        ),
    ]
    return [*tables, filtered_table(points)] if points else tables


def _load_row(name: str, in_flight: str, result: LoadResult) -> list[str]:
    label = name if not result.errors else f"{name} (errors: {result.errors})"
    return [
        label,
        in_flight,
        f"{result.queries_per_second:,.0f}",
        *(f"{result.percentile_ms(percent):.2f}" for percent in (50, 90, 99, 99.9)),
        f"{result.server_cpu_us:,.0f}",
        f"{result.server_cpu_s / result.seconds:.2f}",
        f"{result.generator_cpu_s / result.seconds:.2f}",
    ]
