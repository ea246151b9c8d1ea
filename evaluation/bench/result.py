"""What a benchmark measured: figures for machines, tables for people."""

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class BenchTable:
    """A table to print; cells are text already."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """One benchmark, measured in one run on one machine."""

    name: str
    machine: str
    tables: Sequence[BenchTable] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give what `bench --json` prints."""
        return {"bench": self.name, "machine": self.machine, "ratios": dict(self.ratios), **self.figures}


def machine_line() -> str:
    """Describe the machine in one line: figures mean nothing without it."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0]
    return (
        f"{cores} cores of {model}, {memory:.0f} GiB, Python {platform.python_version()}, "
        f"numpy {np.__version__}, load before {load:.1f}"
    )


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """A ratio of two quantities that were measured in turn, so that a busy spell hits both."""

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        """Show the median, and the extremes."""
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f}, {self.rounds} rounds)"


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> PairedRatio:
    """Take the ratio in every round, and the middle one of them.

    >>> str(paired_ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]))
    '2.000 (2.000 to 3.000, 3 rounds)'
    """
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    return PairedRatio(float(np.median(ratios)), min(ratios), max(ratios), len(ratios))


def markdown(result: BenchResult) -> str:
    """Write the tables as Markdown.

    >>> table = BenchTable("T", ["a", "b"], [["1", "2"]])
    >>> print(markdown(BenchResult(name="x", machine="m", tables=[table])))
    **T**
    <BLANKLINE>
    | a | b |
    | --- | --- |
    | 1 | 2 |
    <BLANKLINE>
    """
    parts = []
    for table in result.tables:
        lines = [table.columns, ["---"] * len(table.columns), *table.rows]
        rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        parts.append(f"**{table.title}**\n\n{rows}\n")
    return "\n".join(parts)
