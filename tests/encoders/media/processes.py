"""The decoding processes of this process, and how to make one crash."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def children() -> list[psutil.Process]:
    """Find the decoding processes of this process, the oldest first."""
    mine = [
        child for child in psutil.Process().children() if "encoders.media.child" in " ".join(_command(child))
    ]
    return sorted(mine, key=lambda child: child.create_time())


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def end(child: psutil.Process) -> None:
    """End a process, and wait until it is gone."""
    child.kill()
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.001)


@contextmanager
def crash(child: psutil.Process) -> Iterator[None]:
    """Make a process crash in the middle of its next work: it sleeps while it has nothing to do."""
    used_s = sum(child.cpu_times()[:2])

    def send() -> None:
        while sum(child.cpu_times()[:2]) < used_s + 0.03:
            time.sleep(0.001)
        os.kill(child.pid, signal.SIGSEGV)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()
