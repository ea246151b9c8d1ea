import os
import select
import subprocess
import time
from collections.abc import Iterator

import pytest

from encoders.media.patience import TURNS, Deadline


@pytest.fixture
def silent_pipe() -> Iterator[int]:
    """A pipe that nobody writes to."""
    read, write = os.pipe()
    yield read
    os.close(read)
    os.close(write)


def waited_s(program: str, pipe: int, timeout_s: float) -> float:
    """Wait for a process that runs a shell's program; return after how long that was given up."""
    with subprocess.Popen(["sh", "-c", program]) as process:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            Deadline(process.pid, timeout_s).wait(pipe, select.POLLIN)
        process.kill()
    return time.monotonic() - began


def test_a_process_that_works_is_given_more_time(silent_pipe: int) -> None:
    assert waited_s("while :; do :; done", silent_pipe, 0.05) >= TURNS * 0.05


def test_a_process_that_sleeps_is_not(silent_pipe: int) -> None:
    assert waited_s("exec sleep 100", silent_pipe, 1.0) < TURNS * 1.0


def test_what_can_be_read_is_not_waited_for() -> None:
    read, write = os.pipe()
    os.write(write, b"x")

    Deadline(os.getpid(), 0).wait(read, select.POLLIN)

    os.close(read)
    os.close(write)
