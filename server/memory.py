"""What the allocator keeps, and what the garbage collector looks through."""

import asyncio
import contextlib
import ctypes
import gc

# New containers between two looks at the young ones; a batch of 64 queries makes about a thousand.
_YOUNG = 50_000


def settle_memory() -> None:
    """Leave out of garbage collection what is loaded now, and collect more seldom. Call once all is warm.

    Searches make no cycles, so that the collector finds nothing and costs a sixth of their CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)


# The library keeps a call that was aborted or cancelled, and its stream, in a circle of references. From a
# thousand such streams of a connection on it refuses new ones, at random and without a word.
_BAD_ENDS = 200
_YOUNGER = 1


class BadEnds:
    """Frees calls that were aborted or cancelled, a few hundred at a time, for the collector comes seldom."""

    def __init__(self) -> None:
        self._count = 0

    def count(self) -> None:
        """Take note of one. Call in the event loop."""
        self._count += 1
        if self._count >= _BAD_ENDS:
            self._count = 0
            asyncio.get_running_loop().call_soon(gc.collect, _YOUNGER)


# Requests from this size on are counted; after so many bytes of them memory is given back, a little later.
_LARGE_BYTES = 64 << 10
_TRIM_AFTER_BYTES = 64 << 20
_TRIM_DELAY_S = 1.0


class MemoryReturn:
    """Gives the memory of large requests back to the system, which glibc would keep for good."""

    def __init__(self) -> None:
        self._received = 0
        self._due = False

    def took(self, size: int) -> None:
        """Take note of a request of so many bytes. Call in the event loop."""
        if size < _LARGE_BYTES:
            return
        self._received += size
        if self._received >= _TRIM_AFTER_BYTES and not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_TRIM_DELAY_S, self._trim)

    def _trim(self) -> None:
        self._received, self._due = 0, False
        asyncio.get_running_loop().run_in_executor(None, trim_memory)


def trim_memory() -> None:
    """Give freed memory back to the system. Does nothing but with glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
