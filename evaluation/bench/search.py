"""`bench search`: what a query costs the server, beside the bare index in the same run."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from evaluation.bench.filtered import FilteredPoint, measure_filtered
from evaluation.bench.growth import GROWN, make_grown
from evaluation.bench.load import Load, LoadResult
from evaluation.bench.processes import ServerProcess
from evaluation.bench.result import BenchResult, machine_line
from evaluation.bench.search_tables import (
    BATCH,
    BATCHES_IN_FLIGHT,
    LIMIT,
    Measured,
    Spell,
    Subject,
    describe,
    growth,
)
from evaluation.evaluate import open_system
from evaluation.index_quality import ann_recall
from evaluation.measurement import System, encode_queries
from retrieval.errors import InvalidInput, ModelNotLoaded
from retrieval.index import Vectors
from retrieval.items import list_items
from retrieval.judgements import JudgedQuery, judged_queries
from retrieval.opening import open_index
from retrieval.publishing import live_version
from retrieval.registry import ModelRow, model_by_fingerprint
from retrieval.workspace import Workspace

OnStep: TypeAlias = Callable[[str], None]

_QUERIES = 1000
_WARM_S = 1.0
_MOST_CONNECTIONS = 256
_BATCH, _VECTOR, _TEXT, _HYBRID = "batch of 64 vectors", "vector", "text", "hybrid"
_BATCH_TEXTS = "batch of 64 texts"
_READ = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchBenchOptions:
    """How long and how much to measure."""

    seconds: float = 2.0  # of each spell of load
    rounds: int = 5  # of the paired measurements
    in_flight: int = 64  # calls under way in the paired measurements
    clients: tuple[int, ...] = (1, 8, 64)  # of the sweep
    filtered: bool = True
    workers: int = 0  # of the server; 0 = one per core
    transport: str = "grpcio"  # of the server
    sizes: tuple[int, ...] = ()  # of collections made for it; none: the collection as it is


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
    if not options.sizes:
        return describe(machine, *_bench_one(root, collection, options, on_step))
    model, texts, queries = _origin(root, collection)
    results = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            on_step(f"import and index {size:,} texts")
            grown = Path(folder) / "workspace"
            make_grown(grown, model, texts, queries, size)
            results.append(describe(machine, *_bench_one(grown, GROWN, options, on_step)))
    return growth(machine, results)


def _origin(root: Path, collection: str) -> tuple[ModelRow, list[str], list[JudgedQuery]]:
    """Read what collections of any size are made of: the live encoder, the texts, the queries."""
    with Workspace(root) as ws:
        version = live_version(ws, collection)
        if version is None:
            raise ModelNotLoaded(f"collection {collection!r} has no live index: build one")
        opened = open_index(ws, collection, version)
        model = model_by_fingerprint(ws, opened.manifest.fingerprint)
        opened.index.close()
        texts: list[str] = []
        after = 0
        while items := list_items(ws, collection, after_rowid=after, limit=_READ):
            texts += [item.text for item in items if item.text]
            after = items[-1].rowid
        return model, texts, _queries(ws, collection)


def _bench_one(
    root: Path, collection: str, options: SearchBenchOptions, on_step: OnStep
) -> tuple[Subject, Measured, list[FilteredPoint]]:
    with Workspace(root) as ws, tempfile.TemporaryDirectory() as folder:
        system = open_system(ws, collection)
        queries = _queries(ws, collection)
        vectors = encode_queries(system.encoder, queries)
        on_step("start the server")
        settings = ("--workers", str(options.workers), "--transport", options.transport)
        with ServerProcess(root, *settings) as server, Load(server) as load:
            _prepare(load, collection, queries, vectors, Path(folder))
            measured = _SearchBench(system, vectors, server, load, options, on_step).run()
        points: list[FilteredPoint] = []
        if options.filtered:
            on_step("filtered search")
            points = measure_filtered(root, collection, vectors)
        system.opened.index.close()
    return Subject(system.opened.manifest, options.workers, options.transport), measured, points


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
    load.prepare(_BATCH_TEXTS, **by_text, batch=BATCH)
    load.prepare(_HYBRID, **by_text, hybrid=True)


@dataclass(frozen=True, slots=True)
class _SearchBench:
    system: System
    vectors: Vectors
    server: ServerProcess
    load: Load
    options: SearchBenchOptions
    on_step: OnStep

    def run(self) -> Measured:
        """Warm up, then measure in rounds, over clients, and at half load."""
        for name in (_VECTOR, _TEXT, _BATCH):
            self.load.run(name, seconds=_WARM_S, in_flight=self.options.in_flight)
        self.on_step("recall")
        served_recall = overlap(self.load.found_ids(_VECTOR), self.load.found_ids("exact"))
        in_process, rounds = self._rounds()
        sweep = self._sweep()
        fastest = float(np.median([result.queries_per_second for result in rounds[_VECTOR]]))
        half_load = []
        for number in range(min(3, self.options.rounds)):
            self.on_step(f"open loop at half load, {number + 1}")
            half_load.append(self.load.run(_VECTOR, seconds=2 * self.options.seconds, rate=fastest / 2))
        return Measured(
            ready_s=self.server.ready_s,
            rss_mb=self.server.rss_mb(),
            private_mb=self.server.private_mb(),
            index_recall=ann_recall(self.system.opened, self.vectors),
            served_recall=served_recall,
            in_process=in_process,
            batch=rounds[_BATCH],
            vector=rounds[_VECTOR],
            text=rounds[_TEXT],
            sweep=sweep,
            half_load=half_load,
        )

    def _rounds(self) -> tuple[list[tuple[float, float]], dict[str, list[LoadResult]]]:
        in_process: list[tuple[float, float]] = []
        rounds: dict[str, list[LoadResult]] = {_BATCH: [], _VECTOR: [], _TEXT: []}
        for number in range(self.options.rounds):
            self.on_step(f"round {number + 1} of {self.options.rounds}")
            in_process.append(self._in_process())
            # The order turns round by round, so that a drift of the machine hits each alike.
            names = [_BATCH, _VECTOR, _TEXT] if number % 2 == 0 else [_TEXT, _VECTOR, _BATCH]
            for name in names:
                in_flight = BATCHES_IN_FLIGHT if name == _BATCH else self.options.in_flight
                rounds[name].append(self._run(name, in_flight))
        return in_process, rounds

    def _sweep(self) -> list[Spell]:
        results = []
        for name in (_VECTOR, _TEXT, _HYBRID):
            for clients in self.options.clients:
                self.on_step(f"{name}, {clients} clients")
                result = self._run(name, clients, min(clients, _MOST_CONNECTIONS))
                results.append(Spell(name, f"{clients} clients", clients, result))
        in_flight = self.options.in_flight
        self.on_step("pipelined")
        pipelined = self._run(_VECTOR, in_flight, 1)
        results.append(Spell(_VECTOR, f"1 client, {in_flight} pipelined", in_flight, pipelined))
        for name in (_BATCH, _BATCH_TEXTS):
            result = self._run(name, BATCHES_IN_FLIGHT, BATCHES_IN_FLIGHT)
            results.append(Spell(name, f"{BATCHES_IN_FLIGHT} clients", BATCHES_IN_FLIGHT, result))
        return results

    def _run(self, name: str, in_flight: int, connections: int = 0) -> LoadResult:
        return self.load.run(name, seconds=self.options.seconds, in_flight=in_flight, connections=connections)

    def _in_process(self) -> tuple[float, float]:
        """Search the bare index with all queries at once, on all cores: queries a second, and CPU us each."""
        index, done = self.system.opened.index, 0
        started, cpu_started = time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - started) < self.options.seconds:
            index.search(self.vectors, LIMIT)
            done += len(self.vectors)
        return done / elapsed, (time.process_time() - cpu_started) / done * 1e6


def overlap(found: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> float:
    """Measure which share of the true ids was found, averaged over queries that have any.

    >>> overlap([["a", "x"], []], [["a", "b"], []])
    0.5
    """
    shares = [len(set(ids) & set(true)) / len(true) for ids, true in zip(found, truth, strict=True) if true]
    return float(np.mean(shares)) if shares else 1.0
