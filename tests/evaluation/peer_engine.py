"""A small real engine for the benchmark of peers: exact search by numpy, or what a damaged one does."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.peers.driver import ATTRIBUTES, Below, Vectors, serve


class ExactEngine:
    """Looks at as many of the first rows as its effort says; 0 = all."""

    knob = "rows"
    efforts = (10, 100, 1000)

    def start(self, folder: Path) -> str:
        if "broken" in sys.argv[0] or os.environ.get("BREAK") == "start":
            raise RuntimeError("no engine here")
        print("a library prints this where answers go")  # noqa: T201
        return f"numpy {np.__version__}"

    def load(self, vectors: Vectors, attributes: NDArray[np.int64]) -> None:
        self._vectors, self._attributes = vectors.copy(), attributes

    def search(self, vector: Vectors, limit: int, below: Below | None, effort: int) -> Sequence[int]:
        scores = self._vectors @ vector
        if below is not None:
            scores[self._attributes[:, ATTRIBUTES.index(below.attribute)] >= below.value] = -np.inf
        if effort:
            scores[effort:] = -np.inf
        best = np.argsort(-scores)[:limit]
        found: list[int] = best[np.isfinite(scores[best])].tolist()
        return found

    def processes(self) -> Sequence[int]:
        return [os.getpid()]

    def cached_mb(self) -> float:
        return 0.0

    def stop(self) -> None:
        pass


if __name__ == "__main__":
    serve(ExactEngine())
