"""Threads for what blocks beside searching: writes, reads and encodings, each with a bound on what waits."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from retrieval.errors import Overloaded

P = ParamSpec("P")
R = TypeVar("R")


class Pool:
    """A few threads behind a bounded queue."""

    def __init__(self, name: str, threads: int, max_queued: int, retry_after_s: float) -> None:
        self._name = name
        self._max_queued = max_queued
        self._retry_after_s = retry_after_s
        self._queued = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do something that blocks. Once begun it is finished, even if the caller has gone.

        Raises:
            Overloaded: if too much is waiting.
        """
        if self._queued >= self._max_queued:
            raise Overloaded(
                f"{self._queued} {self._name} tasks are waiting: retry later",
                retry_after_s=self._retry_after_s,
            )
        self._queued += 1
        future = self._executor.submit(work, *args, **kwargs)
        future.add_done_callback(self._count_down(asyncio.get_running_loop()))
        return await asyncio.wrap_future(future)

    def _count_down(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def done() -> None:
            self._queued -= 1

        def soon(_future: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody counts any more
                loop.call_soon_threadsafe(done)

        return soon

    def close(self) -> None:
        """Finish what runs, and drop what waits."""
        self._executor.shutdown(cancel_futures=True)


class Workers:
    """The pools of one server."""

    def __init__(self, max_queued: int) -> None:
        # SQLite has one writer at a time: a second thread would only wait for the lock.
        self.writes = Pool("write", 1, max_queued, retry_after_s=0.5)
        self.reads = Pool("read", 2, max_queued, retry_after_s=0.2)
        self.encodings = Pool("encode", 1, max_queued, retry_after_s=0.5)
        self.loads = Pool("load", 1, max_queued, retry_after_s=1.0)

    def close(self) -> None:
        """End all threads."""
        for pool in (self.writes, self.reads, self.encodings, self.loads):
            pool.close()
