"""`bench start`: how soon a server answers, and what it holds in memory, by workers."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from evaluation.bench.load import Load
from evaluation.bench.processes import MemoryUse, ServerProcess
from evaluation.bench.result import BenchResult, BenchTable, machine_line
from retrieval.errors import ModelNotLoaded
from retrieval.manifest import Manifest
from retrieval.opening import open_live
from retrieval.publishing import live_version
from retrieval.workspace import Workspace

OnStep: TypeAlias = Callable[[str], None]

_SEARCHES = 1000
_SPELL_S = 3.0
_IN_FLIGHT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPoint:
    """What one server took and holds."""

    workers: int
    ready_s: float  # of the fastest start, from the command to its ready line: the others met a busy machine
    slowest_ready_s: float
    fresh: MemoryUse  # when it was ready
    used: MemoryUse  # after searches that touched most of the index


def bench_start(
    root: Path,
    collection: str,
    *,
    workers: tuple[int, ...] = (1, 2),
    rounds: int = 3,
    on_step: OnStep | None = None,
) -> BenchResult:
    """Start servers of a workspace again and again, its files in the page cache.

    Args:
        root: the workspace; nothing is written into it.
        collection: with a live index.
        workers: how many processes, each in turn.
        rounds: starts of each.
        on_step: called with what begins now, for people.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotLoaded: if it has no live index.
        InternalError: if a server fails.
    """
    on_step = on_step or (lambda step: None)
    machine = machine_line()
    with Workspace(root) as ws, tempfile.TemporaryDirectory() as folder:
        if live_version(ws, collection) is None:
            raise ModelNotLoaded(f"collection {collection!r} has no live index: build one")
        opened = open_live(ws, collection)
        assert opened is not None
        manifest, version = opened.manifest, opened.version
        rng = np.random.default_rng(0)
        chosen = rng.choice(opened.index.keys, min(_SEARCHES, len(opened.index.keys)), replace=False)
        vectors = Path(folder) / "vectors.npy"
        np.save(vectors, opened.index.vectors(np.sort(chosen)))
        opened.index.close()
        index_mb = _size_mb(ws.indexes / collection / version)
        points = [_measure(root, collection, vectors, count, rounds, on_step) for count in workers]
    return _result(machine, manifest, index_mb, points)


def _size_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 2**20


def _measure(
    root: Path, collection: str, vectors: Path, workers: int, rounds: int, on_step: OnStep
) -> StartPoint:
    ready: list[float] = []
    for number in range(rounds):
        on_step(f"{workers} workers, start {number + 1} of {rounds}")
        with ServerProcess(root, "--workers", str(workers)) as server, Load(server) as load:
            ready.append(server.ready_s)
            fresh = used = server.memory()
            if number == rounds - 1:
                load.prepare("vectors", collection=collection, vectors=str(vectors))
                load.run("vectors", seconds=_SPELL_S, in_flight=_IN_FLIGHT)
                used = server.memory()
    return StartPoint(workers=workers, ready_s=min(ready), slowest_ready_s=max(ready), fresh=fresh, used=used)


def _result(machine: str, manifest: Manifest, index_mb: float, points: list[StartPoint]) -> BenchResult:
    title = (
        f"{manifest.count:,} x {manifest.dims}, {manifest.parameters.kind} {manifest.parameters.storage}: "
        f"an index of {index_mb:,.0f} MB, in the page cache"
    )
    columns = ["workers", "ready s (slowest)", "anonymous MB", "mapped MB, shared once", "together MB"]
    columns += ["above the index MB"]
    rows = []
    for point in points:
        for when, memory in (("ready", point.fresh), (f"after {_SPELL_S:.0f} s of searches", point.used)):
            shown = f"{point.ready_s:.2f} ({point.slowest_ready_s:.2f})" if when == "ready" else when
            together = memory.anonymous_mb + memory.mapped_mb
            rows.append(
                [
                    str(point.workers),
                    shown,
                    f"{memory.anonymous_mb:,.0f}",
                    f"{memory.mapped_mb:,.0f}",
                    f"{together:,.0f}",
                    f"{together - index_mb:,.0f}",
                ]
            )
    first = points[0]
    return BenchResult(
        name="start",
        machine=machine,
        tables=[BenchTable(title, columns, rows)],
        figures={
            "n": manifest.count,
            "dims": manifest.dims,
            "index_mb": index_mb,
            "starts": [asdict(point) for point in points],
        },
        ratios={
            "ready_s": first.ready_s,
            "mb_above_index": first.used.anonymous_mb + first.used.mapped_mb - index_mb,
        },
    )
