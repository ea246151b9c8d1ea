"""Redis 8's vector sets as they are, by redis-py: none of our own layers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from evaluation.bench.peers.driver import ATTRIBUTES, Below, Vectors, serve
from retrieval.local_redis import LocalRedis

BATCH = 500


class RedisVsim:
    """A Redis process of its own; VADD with its defaults: Q8, M 16, EF 200."""

    knob = "EF"
    efforts = (10, 20, 40, 60, 80, 100, 150, 200, 300, 400, 600)

    def start(self, folder: Path) -> str:
        """Start Redis, without saving."""
        self._server = LocalRedis()
        self._server.start()
        self._client: Any = redis.Redis.from_url(self._server.url)
        return f"Redis {self._client.info('server')['redis_version']}, redis-py {redis.__version__}"

    def load(self, vectors: Vectors, attributes: NDArray[np.int64]) -> None:
        """VADD in pipelines."""
        for start in range(0, len(vectors), BATCH):
            pipeline = self._client.pipeline(transaction=False)
            for row in range(start, min(start + BATCH, len(vectors))):
                told = json.dumps(dict(zip(ATTRIBUTES, map(int, attributes[row]), strict=True)))
                pipeline.execute_command(
                    "VADD", "v", "FP32", vectors[row].astype("<f4").tobytes(), row, "SETATTR", told
                )
            pipeline.execute()

    def search(self, vector: Vectors, limit: int, below: Below | None, effort: int) -> Sequence[int]:
        """VSIM."""
        command: list[Any] = ["VSIM", "v", "FP32", vector.astype("<f4").tobytes(), "COUNT", limit]
        command += ["EF", effort] if effort else []
        command += ["FILTER", f".{below.attribute} < {below.value}"] if below else []
        return [int(name) for name in self._client.execute_command(*command)]

    def processes(self) -> Sequence[int]:
        """Return the server."""
        return [self._server.pid]

    def cached_mb(self) -> float:
        """Return none: what it holds is its own, or mapped."""
        return 0.0

    def stop(self) -> None:
        """End the server."""
        self._server.stop()


if __name__ == "__main__":
    serve(RedisVsim())
