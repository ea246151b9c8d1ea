"""A server as an operator runs it: nothing secret in what it prints, and what can be switched off."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.twinspire.v1 import search_pb2
from server.keys import add_key, digest_of
from server.permissions import REFLECTION, Role
from tests.server.authorities import Authority
from tests.server.keyed import STARTED_WITHIN_S, bearer, eventually
from tests.server.running import TIMEOUT_S
from tests.server.workspaces import COLLECTION, make_workspace

ROOT = Path(__file__).parents[2]
SEARCH = "/twinspire.v1.SearchService/Search"


@dataclass
class Served:
    """A server in a process of its own."""

    process: "subprocess.Popen[bytes]"
    output: Path
    port: int

    def said(self) -> str:
        """Return all it has printed so far."""
        return self.output.read_text()

    def end(self) -> str:
        """Stop it, and return all it has printed."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(TIMEOUT_S) == 0
        return self.said()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Run `twinspire serve` over a workspace with more arguments."""
    make_workspace(tmp_path / "workspace").close()
    processes = []

    def start(*arguments: str) -> Served:
        output = tmp_path / "output"
        command = [sys.executable, "-m", "twinspire", "--workspace", str(tmp_path / "workspace"), "serve"]
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*command, "--port", "0", *arguments],
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env={**os.environ, "TWINSPIRE_DEBUG": "1", "PYTHONUNBUFFERED": "1"},
            )
        processes.append(process)
        assert eventually(lambda: "serving 1 collections" in output.read_text(), STARTED_WITHIN_S), (
            output.read_text()
        )
        found = re.search(r"serving 1 collections on \S+:(\d+)", output.read_text())
        assert found
        return Served(process, output, int(found[1]))

    yield start
    for process in processes:
        process.kill()
        process.wait()


def attempt(channel: grpc.Channel, data: bytes, key: str, method: str = SEARCH) -> str:
    """Make a call, and return how it ended."""
    call: Any = channel.stream_stream(method)
    try:
        list(call(iter([data]), timeout=TIMEOUT_S, metadata=bearer(key)))
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_no_secret_is_logged(serve: Callable[..., Served], tmp_path: Path) -> None:
    pair = (authority := Authority(tmp_path / "certificates")).issue("server")
    file = tmp_path / "workspace" / "keys.json"
    key, guess = add_key(file, "web", Role.READ), "twinspire_" + "guess" * 8
    served = serve("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--rate-limit", "3")
    private = pair.key.read_text().splitlines()[1]
    query = search_pb2.Query(text="north confidential")
    request = search_pb2.SearchRequest(collection=COLLECTION, query=query).SerializeToString()
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())

    with grpc.secure_channel(f"127.0.0.1:{served.port}", credentials) as channel:
        ends = [attempt(channel, request, one) for one in (key, guess, key, key, key, key)]
        ends.append(attempt(channel, b"\xff", key))
        add_key(file, "ops", Role.ADMIN)
        assert eventually(lambda: "keys read" in served.said())
        file.write_text(f'{{"{key}": ')
        pair.key.write_text(private)
        assert eventually(lambda: "certificates not read" in served.said())
        assert eventually(lambda: "keys not read" in served.said())
    said = served.end()

    assert {"OK", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED"} <= set(ends)
    for secret in (key, guess, digest_of(key).hex(), private, "confidential", "Bearer"):
        assert secret not in said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert len(lines) == len(said.splitlines()) - 1  # all but the one that says it serves


def test_the_keys_of_the_workspace_are_asked_for_without_being_named(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    add_key(tmp_path / "workspace" / "keys.json", "web", Role.READ)
    served = serve()

    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        assert attempt(channel, b"", "") == "UNAUTHENTICATED"


def test_reflection_and_metrics_are_switched_off(serve: Callable[..., Served]) -> None:
    served = serve("--no-reflection", "--metrics-port", "0", "--no-metrics")

    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        assert attempt(channel, b"", "x", f"/{REFLECTION}/ServerReflectionInfo") == "UNIMPLEMENTED"
    assert eventually(lambda: '"metrics_port": 0' in served.said())


def test_a_revoked_key_is_refused_within_a_second(serve: Callable[..., Served], tmp_path: Path) -> None:
    file = tmp_path / "workspace" / "keys.json"
    key = add_key(file, "web", Role.READ)
    add_key(file, "ops", Role.ADMIN)
    served = serve()
    command = [sys.executable, "-m", "twinspire", "--workspace", str(tmp_path / "workspace")]

    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        info = "/twinspire.v1.ServerService/GetServerInfo"
        assert attempt(channel, b"", key, info) == "OK"
        subprocess.run([*command, "keys", "revoke", "web"], check=True, cwd=ROOT, capture_output=True)
        revoked = time.monotonic()
        assert eventually(lambda: attempt(channel, b"", key, info) == "UNAUTHENTICATED")

    assert time.monotonic() - revoked < 8  # a second, and the rest for a busy machine
