"""Searches that wait for a thread, the threads that take them, and how what they come to gets back."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from server.alike_answering import Block
from server.task import Task

# A search that is answered by itself takes the place of so many that are answered as one matrix.
LONE_WEIGHT = 4


class Job:
    """Searches of one call: they are admitted, cancelled and answered together."""

    __slots__ = ("deadline", "decoded_bytes", "future", "loop", "work")

    def __init__(
        self,
        work: list[Task] | Block,
        loop: asyncio.AbstractEventLoop,
        deadline: float | None,
        future: "Promise | None" = None,
    ) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] | Promise = future or loop.create_future()
        self.deadline = deadline  # perf_counter
        self.decoded_bytes = 0  # of its files

    @property
    def awaited(self) -> asyncio.Future[Any]:
        """The future, where it is one that can be awaited."""
        assert isinstance(self.future, asyncio.Future)
        return self.future


def count(job: Job) -> int:
    """Count a job's searches."""
    return len(job.work)


def weight(job: Job) -> int:
    """Tell what a job adds to a search of the index, in searches that are alike."""
    if isinstance(job.work, Block):
        return len(job.work)
    return sum(LONE_WEIGHT if task.plan.alike is None else 1 for task in job.work)


class Promise:
    """What a search comes to, told to a function rather than to who awaits it: costs a fifth of a future."""

    __slots__ = ("_settled", "_then")

    def __init__(self, then: Callable[[Any], None]) -> None:
        self._then = then
        self._settled = False

    def done(self) -> bool:
        """Tell whether it is settled."""
        return self._settled

    def set_result(self, result: Any) -> None:
        """Tell the result, an error too."""
        self._settled = True
        self._then(result)

    set_exception = set_result


class Stage:
    """Threads that each take their share of what waits, and work on it."""

    def __init__(
        self,
        name: str,
        work: Callable[[list[Job]], None],
        *,
        max_batch: int,
        threads: int,
        size: Callable[[Job], int] = count,
    ) -> None:
        """Start the threads.

        Args:
            name: of the threads.
            work: works at jobs.
            max_batch: no job is added to as many.
            threads: how many.
            size: of a job, as `max_batch` counts.
        """
        self._size = size
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._work = work
        self._max_batch = max_batch
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{at}", daemon=True) for at in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        """Let a job wait."""
        self._queue.put(job)

    def stop(self) -> None:
        """Do what waits, then end the threads."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        running = True
        while running:
            job = self._queue.get()
            if job is None:
                return
            batch, size = [job], self._size(job)
            share = self._queue.qsize() // len(self._threads)
            while size < self._max_batch and len(batch) <= share:
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    running = False
                    break
                batch.append(job)
                size += self._size(job)
            self._work(batch)
            del batch, job  # an idle thread keeps nothing alive


class Room:
    """A bound on the bytes that one stage has made and the next one has not taken yet."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._filled = 0
        self._changed = threading.Condition()

    def fill(self, count: int) -> None:
        """Note bytes that were made, or, below 0, taken."""
        if count:
            with self._changed:
                self._filled += count
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait until there is room for more."""
        with self._changed:
            self._changed.wait_for(lambda: self._filled < self._most)


Delivery: TypeAlias = tuple[asyncio.Future[Any] | Promise, Any]


def deliver_soon(loop: asyncio.AbstractEventLoop, deliveries: list[Delivery]) -> None:
    """Hand results to the calls that wait, in one wake-up of the loop."""
    try:
        loop.call_soon_threadsafe(_deliver, deliveries)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more


def _deliver(deliveries: list[Delivery]) -> None:
    for future, outcome in deliveries:
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
