"""Places where a test may kill the process, to see what a crash there leaves behind."""

import os
import signal

FAILPOINT_VARIABLE = "TWINSPIRE_FAILPOINT"


def failpoint(name: str) -> None:
    """End the process by SIGKILL if the environment names this point; otherwise do nothing."""
    if os.environ.get(FAILPOINT_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
