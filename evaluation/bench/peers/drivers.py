"""Talking to a driver: one process, one engine."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evaluation.bench.peers.environments import Peer, import_path, interpreter
from retrieval.errors import InternalError

_STOP_TIMEOUT_S = 60.0
_SAID = 600  # characters of what a driver that died said last


class DriverProcess:
    """A peer's driver with its engine, until the block ends."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        """Install what the peer needs, and start its driver; the engine is started by an order.

        Raises:
            BackendUnavailable: if the peer cannot be installed here.
        """
        python = interpreter(peer)
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  closed by __exit__
        self._process = subprocess.Popen(
            [python, "-m", peer.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": import_path(peer, folder), "ANONYMIZED_TELEMETRY": "False"},
        )

    def order(self, do: str, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            InternalError: if the engine fails at it, or the driver dies.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died: what it said tells why
        line = self._process.stdout.readline()
        if not line:
            raise InternalError(f"the driver died: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise InternalError(answer["error"])
        return answer

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read().strip()[-_SAID:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
