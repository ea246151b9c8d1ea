"""Our commands, server and load generators as processes of their own, with what each costs.

Started by the interpreter's path: `evaluation` may not import what users start.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from retrieval.errors import InternalError

_CLI = "from twinspire.cli import main; main()"
_READY = "serving "
_START_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 60.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _argv(workspace: Path, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", _CLI, "--workspace", str(workspace), *arguments]


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command of ours printed, and cost."""

    output: Any  # its JSON
    seconds: float  # from start to exit, the interpreter's own start included
    cpu_s: float
    peak_rss_mb: float


def run_command(workspace: Path, *arguments: str) -> CommandResult:
    """Run `twinspire --workspace W ... --json` as a user does.

    Raises:
        InternalError: if it fails, with the end of what it said.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as complaint:
        started = time.perf_counter()
        process = subprocess.Popen(_argv(workspace, [*arguments, "--json"]), stdout=output, stderr=complaint)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # we are told to end
            process.terminate()
            process.wait(_STOP_TIMEOUT_S)
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        complaint.seek(0)
        if process.returncode:
            raise InternalError(
                f"`twinspire {' '.join(arguments)}` failed: {complaint.read().strip()[-600:]}"
            )
        cpu_s = usage.ru_utime + usage.ru_stime
        return CommandResult(json.load(output), seconds, cpu_s, usage.ru_maxrss / 1024)


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Resident memory of processes; pages that several share count once."""

    anonymous_mb: float  # their own
    mapped_mb: float  # of files: the index, libraries; what nobody else needs the system may take back


class ServerProcess:
    """`twinspire serve` on a free port of loopback, until the block ends."""

    def __init__(self, workspace: Path, *arguments: str) -> None:
        """Start it and wait until it is ready.

        Raises:
            InternalError: if it ends or says nothing in time.
        """
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by __exit__
        started = time.perf_counter()
        self._process = subprocess.Popen(
            _argv(workspace, ["serve", "--port", "0", *arguments]),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        watchdog = threading.Timer(_START_TIMEOUT_S, self._process.kill)
        watchdog.start()
        try:
            line = self._read_ready_line()
        except BaseException:  # we are told to end
            self._end()
            raise
        finally:
            watchdog.cancel()
        if not line.startswith(_READY):
            self._process.kill()
            self._log.seek(0)
            raise InternalError(f"the server did not start: {self._log.read().strip()[-600:]}")
        self.ready_s = time.perf_counter() - started
        self.target = line.split(" on ")[-1].strip()

    def _read_ready_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def cpu_s(self) -> float:
        """CPU seconds of the server and its children so far."""
        return sum(_cpu_s(pid) for pid in self._pids())

    def rss_mb(self) -> float:
        """Resident memory of the server and its children, mapped index files included; shared pages once."""
        return sum(_memory_mb(pid, "smaps_rollup", "Pss") for pid in self._pids())

    def private_mb(self) -> float:
        """Resident memory that is not a mapped file."""
        return sum(_memory_mb(pid, "status", "RssAnon") for pid in self._pids())

    def memory(self) -> MemoryUse:
        """Tell what the server and its children hold, what they share counted once."""
        pids = self._pids()
        anonymous = sum(_memory_mb(pid, "smaps_rollup", "Pss_Anon") for pid in pids)
        mapped = sum(
            _memory_mb(pid, "smaps_rollup", name) for pid in pids for name in ("Pss_File", "Pss_Shmem")
        )
        return MemoryUse(anonymous, mapped)

    def _pids(self) -> list[int]:
        return process_tree(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()


def process_tree(pid: int) -> list[int]:
    """List a process and all its descendants."""
    found = [pid]
    for parent in found:  # grows while it is read
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def _cpu_s(pid: int) -> float:
    # The name in the second column may hold blanks and brackets: count from the last bracket.
    columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(columns[11]) + int(columns[12])) / _TICKS_PER_S


def _memory_mb(pid: int, file: str, name: str) -> float:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


class LoadProcess:
    """One load generator: takes an order, gives an answer."""

    def __init__(self, target: str) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "twinspire.bench_load", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, **order: Any) -> None:
        """Send an order."""
        pipe = self._pipe(self._process.stdin)
        pipe.write(json.dumps(order) + "\n")
        pipe.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the oldest open order.

        Raises:
            InternalError: if the process died.
        """
        line = self._pipe(self._process.stdout).readline()
        if not line:
            raise InternalError("the load generator died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        self._pipe(self._process.stdin).close()
        self._process.wait(_STOP_TIMEOUT_S)
        self._pipe(self._process.stdout).close()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe
