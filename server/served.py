"""A version that answers searches, until the last of them is answered."""

import asyncio
from types import TracebackType
from typing import Self

from server.config import ServerConfig
from server.loading import LoadedVersion
from server.metrics import Metrics
from server.pipeline import Pipeline
from server.threads import usable_cores

# Threads that wait for Redis: while one reads its answers, the questions of others are there already.
REDIS_THREADS = 4


class Served:
    """A loaded version with its pipeline. Searches hold it (`with served:`) against being closed."""

    def __init__(self, loaded: LoadedVersion, metrics: Metrics, config: ServerConfig) -> None:
        self.loaded = loaded
        self.version = loaded.opened.version
        self.answerer = loaded.answerer
        self.pipeline = Pipeline(
            loaded.answerer,
            metrics,
            max_batch=config.max_batch,
            max_queued=config.max_queued_searches,
            search_threads=_threads(loaded, config),
            encode_s=loaded.encode_s,
        )
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    def enter(self) -> None:
        """Hold it, until `leave`."""
        self._users += 1
        self._unused.clear()

    def leave(self) -> None:
        """Let go of it."""
        self._users -= 1
        if not self._users:
            self._unused.set()

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    async def retire(self) -> None:
        """Wait until the last search has been answered, then release everything."""
        while self._users:
            await self._unused.wait()
        await asyncio.to_thread(self._release)

    def _release(self) -> None:
        self.pipeline.stop()
        self.loaded.close()


def _threads(loaded: LoadedVersion, config: ServerConfig) -> int:
    """Choose over how many threads a large batch is spread."""
    chosen = config.search_threads or usable_cores()
    if loaded.opened.manifest.parameters.backend != "redis":
        return chosen
    return max(REDIS_THREADS, chosen)
