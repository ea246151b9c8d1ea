"""What drives one engine, in a process and an environment of its own: orders in, figures out, as JSON lines.

Imported by the interpreters of peers, which have numpy but nothing of ours: keep it so.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ATTRIBUTES = ("bucket", "region")  # whole numbers, 0 to 999, of every item


@dataclass(frozen=True, slots=True)
class Below:
    """Only items whose attribute is less than this."""

    attribute: str
    value: int


class Engine(Protocol):
    """One engine behind one client. Searches may be asked from several threads at once."""

    @property
    def knob(self) -> str:
        """What tells it how hard to look."""
        ...

    @property
    def efforts(self) -> Sequence[int]:
        """Values of it to try, rising; none: it cannot be told."""
        ...

    def start(self, folder: Path) -> str:
        """Start it with its data in a folder; return its versions, for people."""
        ...

    def load(self, vectors: Vectors, attributes: NDArray[np.int64]) -> None:
        """Store vectors under their row numbers and return once they are indexed.

        Args:
            vectors: unit rows, shape (n, dims).
            attributes: shape (n, 2), in the order of ATTRIBUTES.
        """
        ...

    def search(self, vector: Vectors, limit: int, below: Below | None, effort: int) -> Sequence[int]:
        """Find the nearest rows by cosine, best first; effort 0 is the engine's default."""
        ...

    def processes(self) -> Sequence[int]:
        """Return the processes that hold the data; their children count too."""
        ...

    def cached_mb(self) -> float:
        """Return the size of data that it reads through the system's file cache, not as its own memory."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


def serve(engine: Engine) -> None:
    """Obey orders from stdin until they end. What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        for line in sys.stdin:
            order = json.loads(line)
            try:
                answer = _obey(engine, order)
            except Exception as error:  # told to whoever ordered it
                answer = {"error": f"{type(error).__name__}: {error}"[:600]}
            _tell(answers, answer)
    finally:
        engine.stop()


def _tell(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _obey(engine: Engine, order: dict[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "start":
            versions = engine.start(Path(order["folder"]))
            return {"versions": versions, "knob": engine.knob, "efforts": list(engine.efforts)}
        case "load":
            return _load(engine, order)
        case "find":
            return {"rows": _find(engine, order)}
        case "run":
            return _run(engine, order)
    raise ValueError(f"unknown order {order['do']!r}")


def _load(engine: Engine, order: dict[str, Any]) -> dict[str, Any]:
    vectors, attributes = (np.load(order[name], allow_pickle=False) for name in ("vectors", "attributes"))
    empty_mb = memory_mb(engine.processes())
    started = time.perf_counter()
    engine.load(vectors, attributes)
    seconds = time.perf_counter() - started
    own_mb = vectors.nbytes / 2**20 if os.getpid() in engine.processes() else 0.0
    mb = memory_mb(engine.processes()) + engine.cached_mb() - own_mb
    return {"seconds": seconds, "empty_mb": empty_mb, "mb": mb}


def _below(order: dict[str, Any]) -> Below | None:
    return Below(*order["below"]) if order.get("below") else None


def _find(engine: Engine, order: dict[str, Any]) -> list[list[int]]:
    queries, below = np.load(order["queries"], allow_pickle=False), _below(order)
    return [
        [int(row) for row in engine.search(query, order["limit"], below, order["effort"])]
        for query in queries
    ]


def _run(engine: Engine, order: dict[str, Any]) -> dict[str, Any]:
    """Keep so many searches under way for so long."""
    queries, below = np.load(order["queries"], allow_pickle=False), _below(order)
    latencies: list[list[float]] = [[] for _ in range(order["in_flight"])]
    errors: list[str] = []
    cpu_before = cpu_s(engine.processes())
    started = time.perf_counter()
    end = started + order["seconds"]

    def client(number: int) -> None:
        place = number
        try:
            while (begun := time.perf_counter()) < end:
                engine.search(queries[place % len(queries)], order["limit"], below, order["effort"])
                latencies[number].append((time.perf_counter() - begun) * 1e3)
                place += order["in_flight"]
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:300])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(order["in_flight"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    if errors:
        raise RuntimeError(errors[0])
    found = np.concatenate([np.array(single) for single in latencies])
    return {
        "qps": len(found) / seconds,
        "p50_ms": float(np.percentile(found, 50)),
        "p99_ms": float(np.percentile(found, 99)),
        "server_cpu_ms": (cpu_s(engine.processes()) - cpu_before) / len(found) * 1e3,
        "searches": len(found),
    }


def tree(processes: Sequence[int]) -> list[int]:
    """Return these processes with all their children."""
    found = list(processes)
    for process in found:
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            found += [int(child) for child in _read(task).split() if int(child) not in found]
    return found


def memory_mb(processes: Sequence[int]) -> float:
    """Return what these processes and their children hold; shared pages are counted once."""
    total = 0
    for process in tree(processes):
        lines = _read(Path(f"/proc/{process}/smaps_rollup")).splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def cpu_s(processes: Sequence[int]) -> float:
    """Return the CPU seconds of these processes and their children so far, also of those that ended."""
    ticks = 0
    for process in tree(processes):
        fields = _read(Path(f"/proc/{process}/stat")).rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))  # its own, and those of children that it waited for
    return ticks / _TICKS_PER_S


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it ended meanwhile, or is not ours to read
        return ""
