"""A real server as a child process: started, waited for, and stopped by its own process."""

import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from retrieval.errors import BackendUnavailable

READY_LINE = re.compile(r"serving \d+ collections on (\S+:\d+)")
READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 15.0


@contextmanager
def child_server(workspace: Path) -> Iterator[str]:
    """Serve a workspace on a free port of 127.0.0.1; gives host:port, and stops the server at the end.

    Raises:
        BackendUnavailable: if it does not come up; the message holds the end of its log.
    """
    command = [sys.executable, "-m", "twinspire", "--workspace", str(workspace), "serve", "--port", "0"]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield _wait_until_ready(process, log)
        finally:
            _stop(process)


def _wait_until_ready(process: "subprocess.Popen[str]", log: IO[bytes]) -> str:
    """Read the server's first line, which says where it listens."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    assert process.stdout is not None
    threading.Thread(
        target=lambda out: lines.put(out.readline()), args=(process.stdout,), daemon=True
    ).start()
    try:
        line = lines.get(timeout=READY_WITHIN_S)
    except queue.Empty:
        line = ""
    found = READY_LINE.search(line)
    if found is None:
        _stop(process)
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()[-3:]
        raise BackendUnavailable(f"the server did not start: {' / '.join(said) or 'it said nothing'}")
    return found[1]


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
