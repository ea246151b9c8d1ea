"""A server that an engine's package brings, in a process of its own.

Imported by the interpreters of peers, as `driver` is.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ClientT = TypeVar("ClientT")

HOST = "127.0.0.1"
START_S = 60.0
_PAUSE_S = 0.2


class LoopbackServer:
    """A command beside the interpreter, listening on a free port of loopback."""

    def __init__(self, command: str, *arguments: str | Path) -> None:
        """Start it; `arguments` end with the option that takes the port."""
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.port: int = free.getsockname()[1]
        file = Path(sys.executable).parent / command
        self._process = subprocess.Popen([file, *arguments, str(self.port)], stdout=2)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def connect(self, client: Callable[[], ClientT]) -> ClientT:
        """Make a client, again and again until the server answers it; raises what it raised last."""
        end = time.monotonic() + START_S
        while True:
            try:
                return client()
            except Exception:
                if time.monotonic() > end:
                    raise
                time.sleep(_PAUSE_S)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
