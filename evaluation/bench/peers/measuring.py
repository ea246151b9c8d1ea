"""Measuring one engine: load, memory, speed at its defaults and at a matched recall, filters."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from evaluation.bench.peers.data import FILTERS, LIMIT, PeerData
from evaluation.bench.peers.driver import Below
from evaluation.bench.peers.drivers import DriverProcess
from evaluation.bench.peers.environments import Peer

OnStep: TypeAlias = Callable[[str], None]
IN_FLIGHT = 8
WARM_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Searches with one setting."""

    effort: int  # 0 = the engine's default
    recall: float  # @10, against exact search
    qps: float  # 8 searches under way, client and server on the same cores
    p50_ms: float  # one search at a time
    p99_ms: float
    server_cpu_ms: float  # for a search; of an engine in process, its client's too


@dataclass(slots=True, kw_only=True)
class PeerFigures:
    """What was measured of one engine."""

    name: str
    what: str
    server: bool
    versions: str = ""
    knob: str = ""
    load_s: float = 0.0
    empty_mb: float = 0.0  # of its processes, before
    mb: float = 0.0  # and after
    vectors: int = 0
    default: Point | None = None
    matched: Point | None = None  # None: no setting reached the recall
    best_recall: float = 0.0  # that any setting reached
    filtered: dict[str, Point] = field(default_factory=dict)  # at the matched setting
    missing: str = ""  # why there are no figures

    @property
    def bytes_per_vector(self) -> float:
        """What the engine grew by, for each vector."""
        return (self.mb - self.empty_mb) * 2**20 / max(1, self.vectors)

    def to_json(self) -> dict[str, Any]:
        """Give the figures."""
        return asdict(self) | {"bytes_per_vector": self.bytes_per_vector}


def measure_peer(
    peer: Peer, data: PeerData, *, recall_target: float, seconds: float, on_step: OnStep
) -> PeerFigures:
    """Measure one engine; what it cannot do is told in its figures, not raised."""
    figures = PeerFigures(name=peer.name, what=peer.what, server=peer.server, vectors=len(data.vectors))
    try:
        with tempfile.TemporaryDirectory(prefix="twinspire-peer-") as folder:
            on_step(f"{peer.name}: install")
            with DriverProcess(peer, Path(folder)) as driver:
                data.save(Path(folder))
                run = _Run(driver, Path(folder), data, figures, seconds)
                run.load(on_step)
                on_step(f"{peer.name}: search")
                run.measure(recall_target)
    except Exception as error:  # one engine's fault is no reason to lose the others' figures
        figures.missing = f"{error}"[:300] or type(error).__name__
    return figures


class _Run:
    """One engine on its way through the measurement."""

    def __init__(
        self, driver: DriverProcess, folder: Path, data: PeerData, figures: PeerFigures, seconds: float
    ) -> None:
        self._driver = driver
        self._folder = folder
        self._data = data
        self._figures = figures
        self._seconds = seconds
        self._efforts: list[int] = []

    def load(self, on_step: OnStep) -> None:
        """Start the engine and fill it."""
        figures = self._figures
        started = self._driver.order("start", folder=str(self._folder / "data"))
        figures.versions, figures.knob = started["versions"], started["knob"]
        self._efforts = started["efforts"]
        on_step(f"{figures.name}: load, {figures.versions}")
        loaded = self._driver.order(
            "load",
            vectors=str(self._folder / "vectors.npy"),
            attributes=str(self._folder / "attributes.npy"),
        )
        figures.load_s, figures.empty_mb, figures.mb = loaded["seconds"], loaded["empty_mb"], loaded["mb"]

    def measure(self, recall_target: float) -> None:
        """Search at the default, find the setting that reaches the recall, and search with it."""
        figures = self._figures
        figures.default = self._point(0, None)
        figures.best_recall = figures.default.recall
        effort = self._matching_effort(recall_target)
        if effort is None:
            return
        figures.matched = self._point(effort, None)
        for name, below in FILTERS.items():
            if below is not None:
                figures.filtered[name] = self._point(effort, below)

    def _matching_effort(self, recall_target: float) -> int | None:
        """Find the least setting that reaches the recall; None if none does."""
        for effort in self._efforts:
            recall = self._recall(effort, None)
            self._figures.best_recall = max(self._figures.best_recall, recall)
            if recall >= recall_target:
                return effort
        return None

    def _recall(self, effort: int, below: Below | None) -> float:
        found = self._driver.order("find", **self._order(effort, below))["rows"]
        return self._data.recall(found, below)

    def _point(self, effort: int, below: Below | None) -> Point:
        recall = self._recall(effort, below)  # warms it, too
        alone = self._run(effort, below, in_flight=1)
        loaded = self._run(effort, below, in_flight=IN_FLIGHT)
        return Point(
            effort=effort,
            recall=recall,
            qps=loaded["qps"],
            p50_ms=alone["p50_ms"],
            p99_ms=alone["p99_ms"],
            server_cpu_ms=loaded["server_cpu_ms"],
        )

    def _run(self, effort: int, below: Below | None, *, in_flight: int) -> Mapping[str, float]:
        order = self._order(effort, below)
        self._driver.order("run", in_flight=in_flight, seconds=min(WARM_S, self._seconds), **order)
        return self._driver.order("run", in_flight=in_flight, seconds=self._seconds, **order)

    def _order(self, effort: int, below: Below | None) -> dict[str, Any]:
        return {
            "queries": str(self._folder / "queries.npy"),
            "limit": LIMIT,
            "effort": effort,
            "below": [below.attribute, below.value] if below else None,
        }
