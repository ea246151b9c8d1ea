"""How long another process is waited for."""

import math
import select
import time
from pathlib import Path

# A process that could go on, but gets no processor or no disk, is given its time so often.
TURNS = 10


class Deadline:
    """A time by the clock for a process. A busy machine does not use it up, a process that sleeps does."""

    def __init__(self, process_id: int, timeout_s: float, at_most_s: float | None = None) -> None:
        """Begin to count.

        Args:
            process_id: of the process.
            timeout_s: what it gets, and more on a busy machine.
            at_most_s: when nobody waits any more, however busy the machine is; None = somebody always does.
        """
        self._process_id, self._timeout_s = process_id, timeout_s
        self._turns = TURNS
        self._last_at = math.inf if at_most_s is None else time.monotonic() + at_most_s
        self._ends_at = min(time.monotonic() + timeout_s, self._last_at)

    def wait(self, pipe: int, event: int) -> None:
        """Wait until a pipe can be read or written, as `select.POLLIN` or `select.POLLOUT` says.

        Raises:
            TimeoutError: if it took too long.
        """
        poll = select.poll()
        poll.register(pipe, event)
        while not poll.poll(max(0.0, self._ends_at - time.monotonic()) * 1000):
            self._turns -= 1
            if self._turns == 0 or time.monotonic() >= self._last_at or not _could_go_on(self._process_id):
                raise TimeoutError
            self._ends_at = min(time.monotonic() + self._timeout_s, self._last_at)


def _could_go_on(process_id: int) -> bool:
    """Whether a process waits for a processor or a disk; False where the system does not tell."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] in (b"R", b"D")
