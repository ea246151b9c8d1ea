"""`bench texts`: a server with a heavy encoder, beside the bare encoder, and vector queries in between."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from encoders.encoder import Encoder
from evaluation.bench.load import Load, LoadResult
from evaluation.bench.processes import ServerProcess
from evaluation.bench.result import BenchResult, BenchTable, PairedRatio, machine_line, paired_ratio
from evaluation.evaluate import open_system
from evaluation.measurement import encode_queries
from retrieval.content import Content
from retrieval.errors import InvalidInput
from retrieval.index import Vectors
from retrieval.judgements import judged_queries
from retrieval.workspace import Workspace

OnStep: TypeAlias = Callable[[str], None]

LIMIT = 10
BATCH = 64
_BATCHES_IN_FLIGHT = 3  # one is encoded, one waits, one is on its way
_QUERIES = 1_000
_LIGHT_RATE = 50.0  # vector queries a second, far below what a server can do
_BATCHED, _SINGLE, _LIGHT = "batch of 64 texts", "text", "vector"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyBenchOptions:
    """How long and how much to measure."""

    seconds: float = 10.0  # of each spell of load
    rounds: int = 3  # of the paired measurements
    workers: int = 1  # of the server


def bench_heavy(
    root: Path, collection: str, options: HeavyBenchOptions | None = None, on_step: OnStep | None = None
) -> BenchResult:
    """Measure text queries through a server beside its encoder alone, and what vector queries suffer.

    Args:
        root: the workspace; nothing is written into it.
        collection: with a live index under a text encoder, and judged queries, whose texts are the load.
        options: how long and how much.
        on_step: called with what begins now, for people.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotLoaded: if it has no live index.
        InvalidInput: if it has no judged queries.
        InternalError: if the server or a load generator fails.
    """
    options, on_step = options or HeavyBenchOptions(), on_step or (lambda step: None)
    machine = machine_line()
    with Workspace(root) as ws, tempfile.TemporaryDirectory() as folder:
        system = open_system(ws, collection)
        queries = judged_queries(ws, collection, "test") or judged_queries(ws, collection)
        if not queries:
            raise InvalidInput(f"collection {collection!r} has no judged queries: import some")
        vectors = encode_queries(system.encoder, queries[:_QUERIES])
        texts = [query.text for query in queries[:_QUERIES]]
        on_step("start the server")
        server = ServerProcess(root, "--workers", str(options.workers))
        with server, Load(server) as heavy, Load(server) as light:
            for load in (heavy, light):
                _prepare(load, collection, texts, vectors, Path(folder))
            rounds = _measure(system.encoder, texts, heavy, light, options, on_step)
        system.opened.index.close()
    return _result(machine, system.encoder, rounds, options)


def _prepare(load: Load, collection: str, texts: Sequence[str], vectors: Vectors, folder: Path) -> None:
    np.save(folder / "vectors.npy", vectors)
    (folder / "texts.json").write_text(json.dumps(list(texts)))
    common = {"collection": collection, "limit": LIMIT}
    load.prepare(_BATCHED, **common, texts=str(folder / "texts.json"), batch=BATCH)
    load.prepare(_SINGLE, **common, texts=str(folder / "texts.json"))
    load.prepare(_LIGHT, **common, vectors=str(folder / "vectors.npy"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    bare_qps: float  # of the encoder alone
    bare_cpu_us: float  # for one query
    batched: LoadResult
    single: LoadResult
    light_alone: LoadResult
    light_beside: LoadResult  # while batches of texts keep the encoder busy
    heavy_beside: LoadResult


def _measure(
    encoder: Encoder,
    texts: Sequence[str],
    heavy: Load,
    light: Load,
    options: HeavyBenchOptions,
    on_step: OnStep,
) -> list[_Round]:
    heavy.run(_BATCHED, seconds=1.0, in_flight=1)
    seconds = options.seconds
    rounds = []
    for number in range(options.rounds):
        on_step(f"round {number + 1} of {options.rounds}")
        bare_qps, bare_cpu_us = _bare(encoder, texts, seconds)
        batched = heavy.run(_BATCHED, seconds=seconds, in_flight=_BATCHES_IN_FLIGHT)
        single = heavy.run(_SINGLE, seconds=seconds, in_flight=_BATCHES_IN_FLIGHT * BATCH)
        light_alone = light.run(_LIGHT, seconds=seconds, rate=_LIGHT_RATE)
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(heavy.run, _BATCHED, seconds=seconds, in_flight=_BATCHES_IN_FLIGHT)
            light_beside = light.run(_LIGHT, seconds=seconds, rate=_LIGHT_RATE)
            heavy_beside = under_way.result()
        rounds.append(
            _Round(
                bare_qps=bare_qps,
                bare_cpu_us=bare_cpu_us,
                batched=batched,
                single=single,
                light_alone=light_alone,
                light_beside=light_beside,
                heavy_beside=heavy_beside,
            )
        )
    return rounds


def _bare(encoder: Encoder, texts: Sequence[str], seconds: float) -> tuple[float, float]:
    """Encode batches of 64 in this process, on all cores, while the server is idle.

    Returns:
        Texts a second, and microseconds of CPU for one.
    """
    contents = [Content(text=text) for text in texts]
    done = 0
    started, cpu_started = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - started) < seconds:
        start = done % max(1, len(contents) - BATCH)
        encoder.encode_queries(contents[start : start + BATCH])
        done += BATCH
    return done / elapsed, (time.process_time() - cpu_started) / done * 1e6


def _result(
    machine: str, encoder: Encoder, rounds: Sequence[_Round], options: HeavyBenchOptions
) -> BenchResult:
    bare = [found.bare_qps for found in rounds]
    batch_ms = 1e3 * BATCH / float(np.median(bare))
    light_p99 = [found.light_beside.percentile_ms(99) for found in rounds]
    ratios = {
        "text_batch64_over_bare_encoder": paired_ratio(
            [found.batched.queries_per_second for found in rounds], bare
        ),
        "text_unary_over_bare_encoder": paired_ratio(
            [found.single.queries_per_second for found in rounds], bare
        ),
        # Of CPU, which a busy machine does not distort as it does throughput.
        "text_batch64_cpu_over_bare_encoder": paired_ratio(
            [found.batched.server_cpu_us for found in rounds], [found.bare_cpu_us for found in rounds]
        ),
        "light_p99_over_a_batch_of_texts": paired_ratio(light_p99, [1e3 * BATCH / qps for qps in bare]),
    }
    middle = rounds[len(rounds) // 2]
    card = encoder.card
    figures: dict[str, Any] = {
        "encoder": f"{card.name}@{card.version}",
        "workers": options.workers,
        "bare_qps": float(np.median(bare)),
        "bare_batch_ms": batch_ms,
        "bare_cpu_us": float(np.median([found.bare_cpu_us for found in rounds])),
        "batched": middle.batched.to_json(),
        "single": middle.single.to_json(),
        "light_alone": middle.light_alone.to_json(),
        "light_beside": middle.light_beside.to_json(),
        "heavy_beside": middle.heavy_beside.to_json(),
        "ratio_spread": {name: [ratio.low, ratio.high] for name, ratio in ratios.items()},
    }
    return BenchResult(
        name="texts",
        machine=machine,
        tables=_tables(figures["encoder"], middle, ratios),
        figures=figures,
        ratios={name: ratio.median for name, ratio in ratios.items()},
    )


def _tables(encoder: str, middle: _Round, ratios: dict[str, PairedRatio]) -> list[BenchTable]:
    spells = [
        (f"{_BATCHED}, {_BATCHES_IN_FLIGHT} in flight", middle.batched),
        (f"{_SINGLE}, {_BATCHES_IN_FLIGHT * BATCH} in flight", middle.single),
        (f"{_LIGHT}, {_LIGHT_RATE:.0f} a second, alone", middle.light_alone),
        (f"{_LIGHT}, {_LIGHT_RATE:.0f} a second, beside batches of texts", middle.light_beside),
        (f"{_BATCHED}, meanwhile", middle.heavy_beside),
    ]
    bare = f"{middle.bare_qps:,.0f}", f"{1e3 * BATCH / middle.bare_qps:.0f}", "", f"{middle.bare_cpu_us:,.0f}"
    rows = [["encoder alone, batches of 64", *bare]]
    for name, found in spells:
        label = f"{name} (errors: {found.errors})" if found.errors else name
        rows.append(
            [
                label,
                f"{found.queries_per_second:,.0f}",
                *(f"{found.percentile_ms(percent):.1f}" for percent in (50, 99)),
                f"{found.server_cpu_us:,.0f}",
            ]
        )
    return [
        BenchTable(
            f"Queries through a server with {encoder}",
            ["load", "queries/s", "p50 ms", "p99 ms", "CPU us a query"],
            rows,
        ),
        BenchTable(
            "Ratios, paired in each round",
            ["ratio", "median (extremes)"],
            [[name, str(ratio)] for name, ratio in ratios.items()],
        ),
    ]
