"""`bench peers`: the same vectors and queries through other engines, at defaults and at a matched recall."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.bench.peers.data import FILTERS, LIMIT, PeerData, read_data
from evaluation.bench.peers.environments import PEERS, Peer
from evaluation.bench.peers.measuring import IN_FLIGHT, OnStep, PeerFigures, Point, measure_peer
from evaluation.bench.result import BenchResult, BenchTable, machine_line
from retrieval.errors import InvalidInput

OURS = "twinspire"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersBenchOptions:
    """What to compare, and how long."""

    size: int = 20_000  # vectors
    seconds: float = 3.0  # of each spell of load
    recall_target: float = 0.95
    only: tuple[str, ...] = ()  # peers by name; empty: all


def bench_peers(
    root: Path, collection: str, options: PeersBenchOptions | None = None, on_step: OnStep | None = None
) -> BenchResult:
    """Measure Twinspire and its peers one after the other, on vectors of a workspace's live index.

    Args:
        root: the workspace; nothing is written into it.
        collection: with a live index and judged queries, whose vectors are the load.
        options: what and how long.
        on_step: called with what begins now, for people.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotLoaded: if it has no live index.
        InvalidInput: if it has no judged queries, or a peer is not known.
    """
    options, on_step = options or PeersBenchOptions(), on_step or (lambda step: None)
    peers = _chosen(options.only)
    return compare(peers, read_data(root, collection, options.size), options, on_step)


def compare(
    peers: Sequence[Peer], data: PeerData, options: PeersBenchOptions, on_step: OnStep
) -> BenchResult:
    """Measure these peers on this data, one after the other."""
    machine = machine_line()
    measured = [
        measure_peer(
            peer, data, recall_target=options.recall_target, seconds=options.seconds, on_step=on_step
        )
        for peer in peers
    ]
    return _result(machine, data, measured, options)


def _chosen(names: Sequence[str]) -> list[Peer]:
    known = {peer.name: peer for peer in PEERS}
    if unknown := [name for name in names if name not in known]:
        raise InvalidInput(f"peer {unknown[0]!r} is not known: expected some of {', '.join(known)}")
    return [known[name] for name in names] if names else list(PEERS)


def _result(
    machine: str, data: PeerData, measured: Sequence[PeerFigures], options: PeersBenchOptions
) -> BenchResult:
    there = [figures for figures in measured if not figures.missing]
    tables = [_loading(there), _speed("At its documented defaults", [(f, f.default) for f in there])]
    tables.append(
        _speed(
            f"At the least setting that reaches recall@{LIMIT} of {options.recall_target:g}",
            [(figures, figures.matched) for figures in there],
        )
    )
    tables.append(_filtered(there))
    if missing := [figures for figures in measured if figures.missing]:
        rows = [[figures.name, figures.versions or "-", figures.missing] for figures in missing]
        tables.append(BenchTable("Not measured", ["engine", "version", "because"], rows))
    return BenchResult(
        name="peers",
        machine=machine,
        tables=tables,
        figures={
            "vectors": len(data.vectors),
            "dims": data.vectors.shape[1],
            "queries": len(data.queries),
            "recall_target": options.recall_target,
            "in_flight": IN_FLIGHT,
            "engines": {figures.name: figures.to_json() for figures in measured},
        },
        ratios=_ratios(there),
    )


def _ratios(measured: Sequence[PeerFigures]) -> dict[str, float]:
    """Compare us with the best other server."""
    servers = {figures.name: figures for figures in measured if figures.server and figures.matched}
    ours = servers.pop(OURS, None)
    if ours is None or ours.matched is None or not servers:
        return {}
    points = [figures.matched for figures in servers.values() if figures.matched]
    return {
        "qps_over_best_server": ours.matched.qps / max(point.qps for point in points),
        "server_cpu_over_best_server": ours.matched.server_cpu_ms / min(p.server_cpu_ms for p in points),
        "p99_over_best_server": ours.matched.p99_ms / min(point.p99_ms for point in points),
        "memory_over_best_server": ours.bytes_per_vector
        / min(figures.bytes_per_vector for figures in servers.values()),
    }


def _loading(measured: Sequence[PeerFigures]) -> BenchTable:
    return BenchTable(
        "Loading and memory",
        ["engine", "is", "versions", "load s", "vectors/s", "MB empty", "MB loaded", "bytes a vector"],
        [
            [
                figures.name,
                figures.what,
                figures.versions,
                f"{figures.load_s:.1f}",
                f"{figures.vectors / figures.load_s:,.0f}",
                f"{figures.empty_mb:.0f}",
                f"{figures.mb:.0f}",
                f"{figures.bytes_per_vector:,.0f}",
            ]
            for figures in measured
        ],
    )


def _speed(title: str, points: Sequence[tuple[PeerFigures, Point | None]]) -> BenchTable:
    rows = [
        [figures.name, *(_cells(figures.knob, point) if point else _not_reached(figures))]
        for figures, point in points
    ]
    columns = ["engine", "setting", f"recall@{LIMIT}", f"QPS, {IN_FLIGHT} at once", "p50 ms", "p99 ms"]
    return BenchTable(title, [*columns, "server CPU ms"], rows)


def _cells(knob: str, point: Point) -> list[str]:
    return [
        f"{knob} {point.effort}" if point.effort else "default",
        f"{point.recall:.4f}",
        f"{point.qps:,.0f}",
        f"{point.p50_ms:.2f}",
        f"{point.p99_ms:.2f}",
        f"{point.server_cpu_ms:.2f}",
    ]


def _not_reached(figures: PeerFigures) -> list[str]:
    return ["none reaches it", f"{figures.best_recall:.4f}", "-", "-", "-", "-"]


def _filtered(measured: Sequence[PeerFigures]) -> BenchTable:
    names = [name for name, below in FILTERS.items() if below is not None]
    rows = [
        [figures.name, *(_recall_and_speed(figures.filtered[name]) for name in names)]
        for figures in measured
        if figures.filtered
    ]
    columns = [f"{name} match: recall, QPS" for name in names]
    return BenchTable("Filtered, at the same setting", ["engine", *columns], rows)


def _recall_and_speed(point: Point) -> str:
    return f"{point.recall:.3f}, {point.qps:,.0f}"
