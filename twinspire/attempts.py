"""The attempts at one call: how long each may take, and whether and when there is another."""

import time

import grpc

from twinspire.faults import error_from_call
from twinspire.retries import RetryPolicy


class Attempts:
    """The attempts at one call, all before its deadline."""

    def __init__(self, target: str, retries: RetryPolicy | None, timeout_s: float) -> None:
        """Start the clock.

        Args:
            target: the server's address, for messages.
            retries: which failures are worth another attempt; None: there is only one.
            timeout_s: for all of them.
        """
        self._target, self._retries = target, retries
        self._deadline = time.monotonic() + timeout_s
        self._made = 0

    @property
    def left_s(self) -> float:
        """How long the next attempt may take."""
        return self._deadline - time.monotonic()

    def pause_s(self, failed: grpc.RpcError) -> float:
        """Return how long to wait after an attempt that failed.

        Raises:
            TwinspireError: what it ended in, if another would not help, or come too late.
        """
        self._made += 1
        error = error_from_call(failed, self._target)
        pause_s = self._retries.delay_s(error, self._made) if self._retries else None
        if pause_s is None or pause_s >= self.left_s:
            raise error from failed
        return pause_s
