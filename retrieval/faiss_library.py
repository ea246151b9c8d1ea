"""The FAISS library, which no other module imports: how it is loaded, and how many threads a call may use."""

import os
import threading
from importlib import import_module
from typing import Any

# Idle OpenMP threads would spin, which costs several times the work itself when the cores are busy with
# something else. It is read when the library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

faiss: Any = import_module("faiss")  # its stubs do not know the keyword arguments of its Python layer

_threads = 0
_thread_state = threading.local()


def set_search_threads(count: int) -> None:
    """Set how many OpenMP threads one FAISS call may use, in whichever thread it runs.

    0 = as many as OMP_NUM_THREADS says, or else as there are cores.
    """
    global _threads
    _threads = count


def apply_threads() -> None:
    """Let the calling thread's FAISS calls use that many: OpenMP keeps the number per thread."""
    if getattr(_thread_state, "threads", -1) != _threads:
        faiss.omp_set_num_threads(_threads or _default_threads())
        _thread_state.threads = _threads


def _default_threads() -> int:
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) else len(os.sched_getaffinity(0))
