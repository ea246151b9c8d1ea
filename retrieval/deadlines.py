"""Until when the work of this thread is of use, for whatever waits on something else meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_thread = threading.local()


@contextmanager
def work_until(deadline: float | None) -> Iterator[None]:
    """Let what is done inside end at a deadline.

    Args:
        deadline: on `time.perf_counter`; None = there is none.
    """
    before = getattr(_thread, "deadline", None)
    _thread.deadline = deadline
    try:
        yield
    finally:
        _thread.deadline = before


def time_left_s() -> float | None:
    """Return the seconds until the deadline of this thread's work, at least 0; None if it has none.

    >>> time_left_s() is None
    True
    """
    deadline = getattr(_thread, "deadline", None)
    return None if deadline is None else max(0.0, deadline - time.perf_counter())
