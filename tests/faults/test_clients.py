"""Clients that misbehave: the server closes on them, keeps its memory, and goes on answering."""

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.faults import http2
from tests.faults.served import Served, serve
from tests.server.running import TRANSPORT
from tests.server.workspaces import make_workspace

HANDSHAKE_S = 1.0
ROOM = 64 << 20  # what the memory may grow by: allocators keep some of what was used


# It waits 120 s for a preface, whatever it is told: why it listens on loopback only (decision 057).
speaks = pytest.mark.skipif(TRANSPORT == "native", reason="pygrpc-native bears silent connections")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("clients") / "ws"
    make_workspace(root).close()
    with serve(root, handshake_timeout_s=HANDSHAKE_S) as served:
        served.search()
        yield served


@pytest.fixture(autouse=True)
def unharmed(server: Served) -> Iterator[None]:
    """After each test the server lives, answers, and has its memory back."""
    before = server.memory
    yield
    assert server.lives()
    assert server.memory - before < ROOM


@pytest.mark.parametrize(
    "data",
    [
        os.urandom(4096),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS, to a port in clear
        http2.PREFACE + os.urandom(4096),
        http2.opening() + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, os.urandom(64)),
        http2.opening() + b"\xff\xff\xff" + bytes(6) + os.urandom(512),  # a frame of 16 MiB
    ],
    ids=["garbage", "HTTP 1.1", "TLS", "garbage frames", "garbage headers", "a huge frame"],
)
def test_what_is_no_grpc_is_closed(server: Served, data: bytes) -> None:
    with http2.connect(server.port) as connection:
        http2.send(connection, data)

        assert http2.is_closed(connection)


@speaks
@pytest.mark.parametrize("said", [b"", http2.PREFACE[:10], http2.PREFACE], ids=["nothing", "half", "preface"])
def test_a_connection_that_never_speaks_is_closed(server: Served, said: bytes) -> None:
    with http2.connect(server.port) as connection:
        http2.send(connection, said)
        started = time.monotonic()

        assert http2.is_closed(connection)
        assert time.monotonic() - started < HANDSHAKE_S + 5


@speaks
def test_a_thousand_idle_sockets_are_closed_and_cost_little(server: Served) -> None:
    before = server.memory
    idle = [http2.connect(server.port) for _ in range(1000)]

    assert server.search("north", limit=1) == ["north"]
    assert server.memory - before < ROOM
    assert all(http2.is_closed(connection) for connection in idle)
    for connection in idle:
        connection.close()


def test_calls_reset_as_fast_as_they_are_made_cost_nobody_else(server: Served) -> None:
    with http2.connect(server.port) as connection:
        http2.send(connection, http2.opening())
        for first in range(1, 40_000, 2000):
            data = b"".join(
                http2.call(stream, http2.SEARCH, b"\x0a\x01c")
                + http2.frame(http2.RST_STREAM, 0, stream, struct.pack(">I", 8))
                for stream in range(first, first + 2000, 2)
            )
            if not http2.send(connection, data):
                break  # it closed on us
            assert server.search("north", limit=1) == ["north"]


@pytest.mark.parametrize("path", [http2.SEARCH, http2.UPSERT])
def test_a_flood_of_streams_that_never_end_costs_nobody_else(server: Served, path: str) -> None:
    with http2.connect(server.port) as connection:
        http2.send(connection, http2.opening())
        connection.settimeout(2.0)
        for first in range(1, 20_000, 2000):
            data = b"".join(
                http2.frame(http2.HEADERS, http2.END_HEADERS, stream, http2.call_headers(path))
                for stream in range(first, first + 2000, 2)
            )
            if not http2.send(connection, data):
                break
            assert server.search("north", limit=1) == ["north"]
    assert server.metric("twinspire_requests_in_flight") == 0


def test_a_message_shorter_than_it_says_costs_nobody_else(server: Served) -> None:
    lie = b"\0" + struct.pack(">I", 100) + b"ten bytes."
    with http2.connect(server.port) as connection:
        connection.settimeout(1.0)
        http2.send(connection, http2.opening())
        http2.send(
            connection, http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.call_headers(http2.SEARCH))
        )
        http2.send(connection, http2.frame(http2.DATA, http2.END_STREAM, 1, lie))

        assert server.search("north", limit=1) == ["north"]


def test_a_message_that_says_it_has_gigabytes_is_refused_unread(server: Served) -> None:
    before = server.memory
    with http2.connect(server.port) as connection:
        connection.settimeout(1.0)
        http2.send(connection, http2.opening())
        http2.send(
            connection, http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.call_headers(http2.SEARCH))
        )
        http2.send(connection, http2.frame(http2.DATA, 0, 1, b"\0\xff\xff\xff\xff" + bytes(1000)))

        assert server.search("north", limit=1) == ["north"]
        assert server.memory - before < ROOM


def test_a_client_that_does_not_read_its_answers_costs_nobody_else(server: Served) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(2.0)
        connection.connect(("127.0.0.1", server.port))
        http2.send(connection, http2.opening())
        body = b"\x0a\x07compass\x12\x07\x0a\x05north\x20\xe8\x07"  # limit 1000
        for stream in range(1, 2000, 2):
            if not http2.send(connection, http2.call(stream, http2.SEARCH, body)):
                break

        assert server.search("north", limit=1) == ["north"]
