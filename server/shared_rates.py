"""What is left of each key's rate, in memory that all workers of a server share.

A client keeps one connection, and so one worker: were the rate divided, it would get a part of what it may;
were it counted by each worker, the clients of one key together would get a multiple.
"""

import time
from collections.abc import Callable
from multiprocessing.context import SpawnContext
from typing import Any

SLOTS = 4096  # keys with a rate; those beyond are counted by each worker for itself


class SharedRates:
    """A bucket for each key. Made by the process that starts the workers, and handed to each of them."""

    def __init__(self, context: SpawnContext, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none.

        Args:
            context: in which the workers are started.
            clock: seconds, never going back, the same for all processes.
        """
        self._clock = clock
        self._lock: Any = context.Lock()
        self._keys: Any = context.RawArray("Q", SLOTS)  # the first bytes of a key's SHA-256, 0 for none
        self._left: Any = context.RawArray("d", SLOTS)
        self._filled_at: Any = context.RawArray("d", SLOTS)  # by the clock

    def bucket(self, digest: bytes, rate: float) -> "SharedBucket | None":
        """Return the bucket of a key, full if it is new; None if there is no room for more.

        Args:
            digest: SHA-256 of the key.
            rate: requests a second.
        """
        key = int.from_bytes(digest[:8], "little") or 1
        with self._lock:
            for step in range(SLOTS):
                slot = (key + step) % SLOTS
                if self._keys[slot] == key:
                    return SharedBucket(self, slot, rate)
                if not self._keys[slot]:
                    self._keys[slot] = key
                    self._left[slot] = max(1.0, rate)
                    self._filled_at[slot] = self._clock()
                    return SharedBucket(self, slot, rate)
        return None

    def left(self, slot: int, rate: float, take: int) -> float:
        """Fill a bucket up for the time that went by, take from it, and return what is left."""
        with self._lock:
            now = self._clock()
            grown = self._left[slot] + (now - self._filled_at[slot]) * rate
            left = float(min(max(1.0, rate), grown)) - take
            self._left[slot], self._filled_at[slot] = left, now
        return left


class SharedBucket:
    """One key's bucket; does what `access.TokenBucket` does."""

    def __init__(self, rates: SharedRates, slot: int, rate: float) -> None:
        self.rate = rate
        self._rates = rates
        self._slot = slot

    def wait_s(self, cost: int) -> float:
        """Return after how many seconds a cost could be taken; 0 if it can be now."""
        left = self._rates.left(self._slot, self.rate, 0)
        return max(0.0, (min(cost, max(1.0, self.rate)) - left) / self.rate)

    def take(self, cost: int) -> None:
        """Take a cost, on credit if need be."""
        self._rates.left(self._slot, self.rate, cost)
