"""What `bench search` measured, as figures, tables and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from evaluation.bench.filtered import FilteredPoint, filtered_table
from evaluation.bench.load import LoadResult
from evaluation.bench.result import BenchResult, BenchTable, PairedRatio, paired_ratio
from evaluation.plots import Line, line_chart
from retrieval.manifest import Manifest

LIMIT = 10
BATCH = 64
BATCHES_IN_FLIGHT = 16  # on connections of their own, so that every worker has some


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured."""

    manifest: Manifest
    workers: int  # 0 = one per core
    transport: str


@dataclass(frozen=True, slots=True)
class Spell:
    """One load."""

    query: str
    clients: str  # for people
    in_flight: int
    result: LoadResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything that was measured through the server, and the index without it."""

    ready_s: float
    rss_mb: float
    private_mb: float
    index_recall: float
    served_recall: float
    in_process: list[tuple[float, float]]  # a round: queries a second, CPU us a query
    batch: list[LoadResult]
    vector: list[LoadResult]
    text: list[LoadResult]
    sweep: list[Spell]
    half_load: list[LoadResult]


def describe(
    machine: str, subject: Subject, measured: Measured, points: Sequence[FilteredPoint]
) -> BenchResult:
    """Put one measurement into figures and tables."""
    ratios = _ratios(measured)
    manifest = subject.manifest
    rounds = {"batch": measured.batch, "vector": measured.vector, "text": measured.text}
    figures: dict[str, Any] = {
        "n": manifest.count,
        "dims": manifest.dims,
        "transport": subject.transport,
        "workers": subject.workers,
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
        "in_process_qps": _median(measured.in_process, 0),
        "in_process_cpu_us": _median(measured.in_process, 1),
        "rounds": {name: [each.to_json() for each in results] for name, results in rounds.items()},
        "sweep": [
            {"query": spell.query, "clients": spell.clients, "in_flight": spell.in_flight}
            | spell.result.to_json()
            for spell in measured.sweep
        ],
        "half_load": [result.to_json() for result in measured.half_load],
        "filtered": [point.to_json() for point in points],
        "ratio_spread": {name: [ratio.low, ratio.high] for name, ratio in ratios.items()},
    }
    return BenchResult(
        name="search",
        machine=machine,
        tables=_tables(subject, measured, ratios, points),
        figures=figures,
        ratios={name: ratio.median for name, ratio in ratios.items()},
    )


def _median(pairs: Sequence[tuple[float, float]], which: int) -> float:
    return float(np.median([pair[which] for pair in pairs]))


def _ratios(measured: Measured) -> dict[str, PairedRatio]:
    """Compare throughput, and CPU; above 1 is better than the bare index, but for text and latency."""
    qps = [each for each, _ in measured.in_process]
    cpu_us = [each for _, each in measured.in_process]
    ratios = {
        "text_over_vector_cpu": paired_ratio(
            [result.server_cpu_us for result in measured.text],
            [result.server_cpu_us for result in measured.vector],
        )
    }
    for name, results in (("batch64", measured.batch), ("unary", measured.vector)):
        served_qps = [result.queries_per_second for result in results]
        ratios[f"{name}_over_in_process"] = paired_ratio(served_qps, qps)
        served_us = [result.server_cpu_us for result in results]
        ratios[f"{name}_over_in_process_per_cpu"] = paired_ratio(cpu_us, served_us)
    ratios["p99_over_p50_at_half_load"] = paired_ratio(
        [result.percentile_ms(99) for result in measured.half_load],
        [result.percentile_ms(50) for result in measured.half_load],
    )
    return ratios


def _tables(
    subject: Subject,
    measured: Measured,
    ratios: dict[str, PairedRatio],
    points: Sequence[FilteredPoint],
) -> list[BenchTable]:
    manifest, parameters = subject.manifest, subject.manifest.parameters
    title = (
        f"{manifest.count:,} x {manifest.dims}, {parameters.kind} {parameters.storage}, "
        f"effort {parameters.effort}, recall@10 {measured.index_recall:.3f}, limit {LIMIT}, "
        f"{subject.transport}, workers {subject.workers or 'one per core'}"
    )
    rows = [_load_row(spell.query, spell.clients, spell.result) for spell in measured.sweep]
    rows.append(_load_row("vector, at half load", "open loop", measured.half_load[0]))
    bare = [f"{_median(measured.in_process, 0):,.0f}", "", "", "", ""]
    rows.insert(0, ["in process, all cores", "-", *bare, f"{_median(measured.in_process, 1):,.0f}", "", ""])
    columns = ["query", "clients", "QPS", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms"]
    columns += ["CPU us", "cores", "generator cores"]
    server = [measured.ready_s, measured.rss_mb, measured.private_mb, measured.served_recall]
    formats = (".2f", ".0f", ".0f", ".4f")
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
            [[format(value, as_) for value, as_ in zip(server, formats, strict=True)]],
        ),
    ]
    return [*tables, filtered_table(points)] if points else tables


def _load_row(name: str, clients: str, result: LoadResult) -> list[str]:
    label = name if not result.errors else f"{name} (errors: {result.errors})"
    return [
        label,
        clients,
        f"{result.queries_per_second:,.0f}",
        *(f"{result.percentile_ms(percent):.2f}" for percent in (50, 90, 99, 99.9)),
        f"{result.server_cpu_us:,.0f}",
        f"{result.server_cpu_s / result.seconds:.2f}",
        f"{result.generator_cpu_s / result.seconds:.2f}",
    ]


def growth(machine: str, results: Sequence[BenchResult]) -> BenchResult:
    """Put measurements of several sizes side by side; the ratios are those of the last."""
    bodies = [result.figures for result in results]
    columns = ["figure", *(f"{body['n']:,} x {body['dims']}" for body in bodies)]
    rows = [
        ["recall@10 served", *(f"{body['server']['recall@10']:.4f}" for body in bodies)],
        ["effort", *(f"{body['index']['effort']}" for body in bodies)],
        ["ready s", *(f"{body['server']['ready_s']:.2f}" for body in bodies)],
        ["resident MB", *(f"{body['server']['rss_mb']:,.0f}" for body in bodies)],
        ["  of it private", *(f"{body['server']['private_mb']:,.0f}" for body in bodies)],
        ["in process QPS", *(f"{body['in_process_qps']:,.0f}" for body in bodies)],
    ]
    for number, spell in enumerate(bodies[0]["sweep"]):
        label = f"{spell['query']}, {spell['clients']}"
        rows.append([f"{label}: QPS", *(f"{body['sweep'][number]['qps']:,.0f}" for body in bodies)])
        rows.append([f"{label}: p99 ms", *(f"{body['sweep'][number]['p99_ms']:.2f}" for body in bodies)])
    rows += [[name, *(f"{result.ratios[name]:.3f}" for result in results)] for name in results[-1].ratios]
    tables = [table for result in results for table in result.tables]
    sizes = [dict(result.figures) | {"ratios": dict(result.ratios)} for result in results]
    return BenchResult(
        name="search",
        machine=machine,
        tables=[*tables, BenchTable("Growth", columns, rows)],
        figures={"sizes": sizes},
        ratios=results[-1].ratios,
    )


def plot(result: BenchResult) -> str:
    """Draw queries a second against clients, a line for each kind of query and size: an SVG file."""
    bodies = result.figures.get("sizes", [result.figures])
    lines = []
    for body in bodies:
        for query in dict.fromkeys(spell["query"] for spell in body["sweep"]):
            own = [spell for spell in body["sweep"] if spell["query"] == query]
            points = [
                (spell["in_flight"], spell["qps"]) for spell in own if "pipelined" not in spell["clients"]
            ]
            if len(points) > 1:
                name = query if len(bodies) == 1 else f"{query}, {body['n']:,}"
                lines.append(Line(name, points))
    drawn = line_chart(lines, x_label="clients", y_label="queries a second", logarithmic_x=True, y_from=0.0)
    style = files("evaluation").joinpath("report.css").read_text(encoding="utf-8")
    head, _, body_ = drawn.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{body_}\n'
