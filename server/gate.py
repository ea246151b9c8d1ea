"""Who is let in: counts the calls being answered, and shuts when the server stops."""

import asyncio
import contextlib
import time
from collections.abc import Iterator

from retrieval.errors import Overloaded
from server.errors import ShuttingDown

_LINGER_S = 1.0
_RETRY_AFTER_S = 0.5  # what is told to those who come when all places are taken


class Gate:
    """Counts the calls being answered, and shuts when the server stops."""

    def __init__(self, max_calls: int = 1 << 30) -> None:
        """Let so many calls in at a time, and as many streams."""
        self._max_calls = max_calls
        self.streams = 0
        self.in_flight = 0
        self.closing = asyncio.Event()
        self._last_refused = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def has_room(self) -> bool:
        """Whether `enter` would let one more in."""
        return self.in_flight < self._max_calls and not self.closing.is_set()

    def enter(self) -> None:
        """Begin an answer.

        Raises:
            ShuttingDown: if the server is stopping.
            Overloaded: if too many calls are being answered.
        """
        if self.closing.is_set():
            self._last_refused = time.monotonic()
            raise ShuttingDown()
        if self.in_flight >= self._max_calls:
            raise Overloaded(
                f"{self.in_flight} calls are being answered, no more may: retry later",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        """End an answer."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Hold a stream open, which may be idle.

        Raises:
            Overloaded: if too many streams are open.
        """
        if self.streams >= self._max_calls:
            raise Overloaded(
                f"{self.streams} streams are open, no more may be: retry later", retry_after_s=_RETRY_AFTER_S
            )
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    async def close(self, grace_s: float, quiet_s: float) -> bool:
        """Let no more in, and wait for those inside; tell whether all left within the grace.

        Then wait until no call has come for `quiet_s`, at most a second: the library answers a call that
        comes while it shuts down with CANCELLED, which no client retries; we say UNAVAILABLE.
        """
        self.closing.set()
        self._last_refused = time.monotonic()
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            return False
        latest = time.monotonic() + _LINGER_S
        while time.monotonic() < min(latest, self._last_refused + quiet_s):
            await asyncio.sleep(quiet_s / 5)
        return True
