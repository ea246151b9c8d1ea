"""Loads a server from other processes and sums up what both sides did."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.processes import LoadProcess, ServerProcess

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """One spell of load."""

    queries: int
    seconds: float
    latencies_ms: NDArray[np.float64]  # one per call, failed ones left out
    errors: dict[str, int]
    server_cpu_s: float
    generator_cpu_s: float

    @property
    def queries_per_second(self) -> float:
        """Answered queries a second; a call of a batch counts as many as it holds."""
        return self.queries / self.seconds

    @property
    def server_cpu_us(self) -> float:
        """Server CPU for one query, in microseconds."""
        return self.server_cpu_s / max(1, self.queries) * 1e6

    def percentile_ms(self, percent: float) -> float:
        """Latency that so many percent of the calls stay below; NaN if all calls failed."""
        return float(np.percentile(self.latencies_ms, percent)) if len(self.latencies_ms) else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Give the figures."""
        return {
            "queries": self.queries,
            "qps": self.queries_per_second,
            "server_cpu_us": self.server_cpu_us,
            "server_cores": self.server_cpu_s / self.seconds,
            "generator_cores": self.generator_cpu_s / self.seconds,
            "errors": self.errors,
        } | {
            f"p{percent:g}_ms".replace(".", ""): self.percentile_ms(percent) if self.queries else None
            for percent in PERCENTILES
        }


class Load:
    """Generator processes that load one server."""

    def __init__(self, server: ServerProcess, processes: int = 1) -> None:
        """Start the generators."""
        self._server = server
        self._generators = [LoadProcess(server.target) for _ in range(processes)]

    def prepare(self, name: str, **order: Any) -> None:
        """Make every generator serialise its messages; see `twinspire.bench_load` for the fields."""
        self._all({"do": "prepare", "name": name, **order})

    def run(
        self, name: str, *, seconds: float, in_flight: int = 1, rate: float = 0.0, connections: int = 0
    ) -> LoadResult:
        """Send prepared messages for a while.

        Args:
            name: of the messages.
            seconds: how long.
            in_flight: calls under way at any time, over all generators (closed loop).
            rate: calls a second, over all generators; above 0, calls do not wait for each other.
            connections: of each generator, that calls take turns over; 0 = 16.
        """
        share = len(self._generators)
        before = self._server.cpu_s()
        answers = self._all(
            {
                "do": "load",
                "name": name,
                "seconds": seconds,
                "in_flight": max(1, in_flight // share),
                "rate": rate / share,
                "connections": connections,
            }
        )
        return _sum_up(answers, self._server.cpu_s() - before)

    def found_ids(self, name: str) -> list[list[str]]:
        """Send each message once and return the ids found, by query."""
        generator = self._generators[0]
        generator.order(do="ids", name=name)
        ids: list[list[str]] = generator.answer()["ids"]
        return ids

    def upsert(self, collection: str, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Store items through the server and wait until the last one is found."""
        generator = self._generators[0]
        generator.order(do="upsert", collection=collection, items=list(items))
        return generator.answer()

    def _all(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        for generator in self._generators:
            generator.order(**order)
        return [generator.answer() for generator in self._generators]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for generator in self._generators:
            generator.close()


def _sum_up(answers: Sequence[dict[str, Any]], server_cpu_s: float) -> LoadResult:
    latencies = np.concatenate([np.asarray(answer["latencies_ms"], dtype=np.float64) for answer in answers])
    errors: Counter[str] = Counter()
    for answer in answers:
        errors.update(answer["errors"])
    return LoadResult(
        queries=sum(len(answer["latencies_ms"]) * answer["queries_each"] for answer in answers),
        seconds=max(answer["seconds"] for answer in answers),
        latencies_ms=latencies,
        errors=dict(errors),
        server_cpu_s=server_cpu_s,
        generator_cpu_s=sum(answer["cpu_s"] for answer in answers),
    )
