"""HTTP/2 by hand: what no gRPC library would send."""

import socket
import struct
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
SEARCH = "/twinspire.v1.SearchService/Search"
UPSERT = "/twinspire.v1.ItemService/UpsertItems"
TIMEOUT_S = 20.0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Make a frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def hpack(headers: Iterable[tuple[str, str]]) -> bytes:
    """Encode headers as literals without indexing, each shorter than 127 bytes."""
    packed = b""
    for name, value in headers:
        packed += bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return packed


def call_headers(path: str) -> bytes:
    """Encode the headers of a gRPC call."""
    return hpack(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
    )


def message(body: bytes) -> bytes:
    """Put gRPC's prefix before a message."""
    return b"\0" + struct.pack(">I", len(body)) + body


def call(stream: int, path: str, body: bytes) -> bytes:
    """Make the frames of a whole unary call."""
    return frame(HEADERS, END_HEADERS, stream, call_headers(path)) + frame(
        DATA, END_STREAM, stream, message(body)
    )


def opening() -> bytes:
    """Make what a client says first."""
    return PREFACE + frame(SETTINGS, 0, 0)


def connect(port: int) -> socket.socket:
    """Connect, and say nothing."""
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)


def send(connection: socket.socket, data: bytes) -> bool:
    """Send what the other side takes; tell whether it took all."""
    try:
        connection.sendall(data)
    except OSError:  # closed on us, or it no longer reads
        return False
    return True


def is_closed(connection: socket.socket) -> bool:
    """Read until the other side closes; false if it has not within the time-out."""
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
