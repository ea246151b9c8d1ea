"""A server that asks for keys, and callers with keys of each role."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from server.keys import add_key
from server.permissions import Role
from tests.server.running import TIMEOUT_S, Failure, Running, failure_of

WITHIN_S = 20.0  # of a busy machine; half a second on an idle one
STARTED_WITHIN_S = 60.0


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """Write the metadata that carries a key."""
    return (("authorization", f"Bearer {key}"),)


@dataclass
class Keyed:
    """A server, its keys file, and a key of each role."""

    running: Running
    file: Path
    keys: dict[Role, str]

    def call(
        self,
        method: str,
        data: bytes = b"",
        *,
        metadata: Any = None,
        channel: grpc.Channel | None = None,
    ) -> bytes | Failure:
        """Call "package.Service/Method" with one message; returns the answer or how the call failed."""
        try:
            call: Any = (channel or self.running.channel).stream_stream(f"/{method}")
            return bytes(next(call(iter([data]), timeout=TIMEOUT_S, metadata=metadata), b""))
        except grpc.RpcError as error:
            return failure_of(error)

    def as_role(self, role: Role, method: str, data: bytes = b"") -> bytes | Failure:
        """Call with the key of a role."""
        return self.call(method, data, metadata=bearer(self.keys[role]))


def roles_file(folder: Path) -> tuple[Path, dict[Role, str]]:
    """Write a file with a key of each role; returns it and the keys."""
    file = folder / "keys.json"
    return file, {role: add_key(file, role.label, role) for role in Role}


def keyed_server(start_server: Callable[..., Running], folder: Path, **settings: Any) -> Keyed:
    """Start a server that asks for keys."""
    file, keys = roles_file(folder)
    running = start_server(keys_file=file, secrets_interval_s=0.05, **settings)
    return Keyed(running, file, keys)


def eventually(holds: Callable[[], bool], within_s: float = WITHIN_S) -> bool:
    """Wait for something to become true; tell whether it did."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False
