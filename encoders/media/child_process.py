"""A decoding process as its parent sees it: started, asked, and ended."""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.media.limits import MediaLimits
from encoders.media.patience import Deadline
from encoders.media.wire import LENGTH, MAX_HEADER_BYTES, frame_head
from retrieval.errors import BackendUnavailable

# -I: nothing from the environment or the working folder; -S: the parent's folders are told instead.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from encoders.media.child import main; main()"
)
_OURS = str(Path(__file__).resolve().parents[2])
# One thread and one heap each: there are as many processes as shall work at a time. What a file took, up to
# 64 MiB, is kept for the next: else the system clears every page of it anew, a sixth of a picture's time.
_KEPT_BYTES = str(64 << 20)
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
    "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
}
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
_PIPE_BYTES = 1 << 20
START_TIMEOUT_S = 60.0  # a machine under load takes its time
_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ, which only Linux has


class ChildDied(Exception):
    """The process ended, or was ended, before it answered."""


class ChildGone(ChildDied):
    """The process had ended before it was asked: nothing that was asked is to blame."""


class ChildProcess:
    """One decoding process. It works at one thing at a time, in the order it is told; `end` ends it."""

    def __init__(self, limits: MediaLimits) -> None:
        """Start it, and wait until it is ready.

        Raises:
            BackendUnavailable: if it does not start.
        """
        paths = [_OURS, *(os.path.abspath(path) for path in sys.path)]
        self._timeout_s = limits.timeout_s
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, json.dumps(asdict(limits)), json.dumps(paths)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=_ENVIRONMENT | {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                process_group=0,  # Ctrl-C is for the parent to handle
            )
        except OSError as error:
            raise BackendUnavailable(f"no process for decoding can be started: {error.strerror}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        for pipe in (self._requests, self._answers):
            os.set_blocking(pipe, False)
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
        self.answered = 0  # requests
        self.leaving = False  # whether it said that it ends
        self._finalizer = weakref.finalize(self, _end, self._process)
        try:
            self._read_answer(0, Deadline(self._process.pid, START_TIMEOUT_S))
        except BaseException as error:
            self.end()
            if self._death(error) is None:
                raise
            raise BackendUnavailable("a process for decoding was started, and ended at once") from None

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it while another thread may be asking it: that thread is told, and calls `end`."""
        self._process.kill()

    def end(self) -> None:
        """End it now, and let go of its pipes."""
        self._finalizer()

    def tell(
        self, request: Mapping[str, Any], media: bytes | memoryview, at_most_s: float | None = None
    ) -> None:
        """Send a request, when those before are answered: neither side reads while it writes.

        Args:
            request: the header.
            media: the bytes that go with it.
            at_most_s: after so many seconds nobody waits any more; None = somebody does.

        Raises:
            ChildGone: if the process ended before.
            ChildDied: if it ended now, or did not take the request in time; it is ended.
        """
        with self._watched():
            deadline = Deadline(self._process.pid, self._timeout_s, at_most_s)
            body = memoryview(media).cast("B")
            try:
                self._write(memoryview(frame_head({**request, "size": len(body)})), deadline)
            except BrokenPipeError:
                raise ChildGone from None
            self._write(body, deadline)

    def tell_ahead(self, request: Mapping[str, Any]) -> bool:
        """Send a request without bytes while the process works at another one, if its pipe takes it at once.

        Returns:
            False if it does not, or the process has ended: what it answered before can still be read.
        """
        frame = frame_head({**request, "size": 0})
        if len(frame) > select.PIPE_BUF:  # a longer one could be taken in part
            return False
        try:
            return os.write(self._requests, frame) == len(frame)
        except (BlockingIOError, BrokenPipeError):
            return False

    def answer(
        self, max_bytes: int, at_most_s: float | None = None
    ) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        """Wait for the answer to the first request that has none; its time begins now.

        Args:
            max_bytes: the most that the answer may hold.
            at_most_s: as `tell` says.

        Returns:
            The answer's header and bytes.

        Raises:
            ChildDied: if the process ended, did not answer in time, or answered nonsense; it is ended.
        """
        with self._watched():
            answer = self._read_answer(max_bytes, Deadline(self._process.pid, self._timeout_s, at_most_s))
        self.answered += 1
        self.leaving = bool(answer[0].get("out_of_memory"))
        return answer

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """End the process if anything fails; raise ChildDied if the failure is its own."""
        try:
            yield
        except ChildGone:
            self.end()
            raise
        except BaseException as error:
            death = self._death(error)
            self.end()
            if death is None:
                raise
            raise ChildDied(death) from None

    def _read_answer(self, max_bytes: int, deadline: Deadline) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline).tobytes())
        if length > MAX_HEADER_BYTES:
            raise ValueError("a long header")
        header = json.loads(self._read(length, deadline).tobytes())
        size = header["size"]
        if not isinstance(size, int) or not 0 <= size <= max_bytes:
            raise ValueError("an answer of another size")
        return header, self._read(size, deadline)

    def _read(self, size: int, deadline: Deadline) -> NDArray[np.uint8]:
        buffer = np.empty(size, dtype=np.uint8)
        rest = buffer.data
        while rest:
            deadline.wait(self._answers, select.POLLIN)
            try:
                got = os.readv(self._answers, [rest])
            except BlockingIOError:
                continue
            if got == 0:
                raise EOFError
            rest = rest[got:]
        return buffer

    def _write(self, rest: memoryview, deadline: Deadline) -> None:
        while rest:
            deadline.wait(self._requests, select.POLLOUT)
            try:
                rest = rest[os.write(self._requests, rest[:_PIPE_BYTES]) :]
            except BlockingIOError:
                continue

    def _death(self, error: BaseException) -> str | None:
        """Say what became of the process; None if that is not why there is no answer."""
        if isinstance(error, TimeoutError):
            return f"decoding took longer than {self._timeout_s:g} s"
        if isinstance(error, ValueError | KeyError | TypeError):  # JSON errors too
            return "decoding gave nonsense"
        if not isinstance(error, EOFError | BrokenPipeError):
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(1.0)
            if code == -signal.SIGXCPU:
                return "decoding took more processor time than one file may take"
        return "decoding it ended the process that decodes"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
