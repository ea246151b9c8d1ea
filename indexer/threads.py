"""Reading and writing in threads beside the work: SQLite lets go of the interpreter while it works."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Part = TypeVar("Part")
DEPTH = 1  # parts that wait: each is a whole batch in memory


@contextmanager
def ahead(parts: Iterator[Part]) -> Iterator[Iterator[Part]]:
    """Run an iterator one part ahead, in a thread; its errors come out where its parts would.

    >>> with ahead(iter("ab")) as parts:
    ...     list(parts)
    ['a', 'b']
    """
    waiting: queue.Queue[tuple[Part] | BaseException | None] = queue.Queue(DEPTH)
    stopped = threading.Event()

    def put(what: tuple[Part] | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                waiting.put(what, timeout=0.1)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for part in parts:
                put((part,))
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    def taken() -> Iterator[Part]:
        while (what := waiting.get()) is not None:
            if isinstance(what, BaseException):
                raise what
            yield what[0]

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join()


@contextmanager
def behind() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Run pieces of work one after the other in a thread, while the next one is prepared.

    To hand one over waits for the one before, and raises its error; the end waits for all.

    >>> with behind() as run:
    ...     run(lambda: print("done"))
    done
    """
    with ThreadPoolExecutor(1, "write-behind") as pool:
        last: list[Future[object]] = []

        def run(work: Callable[[], object]) -> None:
            if last:
                last.pop().result()
            last.append(pool.submit(work))

        yield run
        if last:
            last.pop().result()
