"""What runs the event loop, and how many threads numeric libraries use: the pipeline brings its own."""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

# numpy's wheels rename the function; other builds keep OpenBLAS's own name.
_SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(workers: int) -> None:
    """Let an encoder's library take this worker's share of the cores; what the environment says holds.

    Call it before the library is imported.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // workers)))


def use_one_thread_per_call() -> None:
    """Let each FAISS search and each matrix product run in the thread that calls it.

    Threads that wait for work do so by spinning, which on two cores cost more than the work itself:
    docs/decisions/051-threads.md.
    """
    with contextlib.suppress(ImportError):  # another backend serves
        from retrieval.faiss_library import set_search_threads

        set_search_threads(1)
    for library in _loaded_libraries("openblas"):
        for name in _SETTERS:
            setter = getattr(library, name, None)
            if setter is not None:
                setter(1)


def _loaded_libraries(name: str) -> list[ctypes.CDLL]:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    files = {line.split(maxsplit=5)[5] for line in maps.read_text().splitlines() if name in line}
    return [ctypes.CDLL(file) for file in sorted(files)]


def event_loop_runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Prefer uvloop, which costs a quarter less per call (docs/decisions/050-serving.md)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return cast(Callable[[Coroutine[Any, Any, None]], None], uvloop.run)
