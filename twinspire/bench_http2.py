"""A gRPC client of few instructions, for the load generator: it sends what is prepared, and counts answers.

A client of the library takes a hundred microseconds a call, more than a server may, and would be the
bottleneck of what it measures. This one speaks just enough HTTP/2 (RFC 9113) for calls of one message each
way over loopback in clear: no compression of headers, windows that never fill on its own side, and those of
the server kept to.
"""

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias, cast

Done: TypeAlias = Callable[[str], None]  # is given the name of a failure, "" for none

LOST = "LOST"  # the connection, and with it the call

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_TABLE_SIZE, _PUSH, _INITIAL_WINDOW, _MAX_FRAME = 1, 2, 4, 5
_DEFAULT_WINDOW = 65_535
_DEFAULT_FRAME = 16_384
_LARGEST_WINDOW = 2**31 - 1
_HEAD = struct.Struct(">BHBBI")  # length in 3 bytes, type, flags, stream
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")

# `grpc-status: 0`: its name as it is and in Huffman's code, and so its value. The table of headers is
# switched off, so that this is what every good answer ends with.
_STATUS_NAMES = (b"grpc-status", bytes.fromhex("9acac8b21234da8f"))
_STATUS_OK = (b"\x010", b"\x81\x07")


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """Make a frame.

    >>> frame(6, 1, 0, b"abcdefgh").hex()
    '0000080601000000006162636465666768'
    """
    return _HEAD.pack(len(body) >> 16, len(body) & 0xFFFF, kind, flags, stream) + body


def header_block(method: str, authority: str, timeout_s: int) -> bytes:
    """Encode the headers of a call, none of them in a way that later ones depend on."""

    def literal(name: bytes, value: str) -> bytes:
        return name + bytes([len(value)]) + value.encode()

    return b"".join(
        (
            b"\x83\x86",  # POST, http
            literal(b"\x04", method),
            literal(b"\x01", authority),
            literal(b"\x0f\x10", "application/grpc"),
            literal(b"\x00\x02te", "trailers"),
            literal(b"\x00\x0cgrpc-timeout", f"{timeout_s}S"),
        )
    )


class Connection(asyncio.Protocol):
    """One connection, many calls."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._next_stream = 1
        self._open: dict[int, Done] = {}
        self._arrived = bytearray()
        self._received = 0  # since the connection's window was last opened
        self._window = _DEFAULT_WINDOW  # what may still be sent
        self._stream_window = _DEFAULT_WINDOW  # of a new stream
        self._max_frame = _DEFAULT_FRAME
        self._waiting: deque[tuple[int, bytes, int]] = deque()  # stream, rest of its message, its window
        self._out: list[bytes] = []
        self._flushing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the server."""
        self._transport = cast(asyncio.Transport, transport)
        settings = ((_TABLE_SIZE, 0), (_PUSH, 0), (_INITIAL_WINDOW, _LARGEST_WINDOW))
        body = b"".join(_SETTING.pack(*setting) for setting in settings)
        opened = _NUMBER.pack(_LARGEST_WINDOW - _DEFAULT_WINDOW)
        self._transport.write(_PREFACE + frame(_SETTINGS, 0, 0, body) + frame(_WINDOW, 0, 0, opened))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what is under way."""
        lost, self._open = self._open, {}
        for done in lost.values():
            done(LOST)

    def call(self, headers: bytes, message: bytes, done: Done) -> None:
        """Send a message; `done` is called once it is answered.

        Args:
            headers: as `header_block` makes them.
            message: with gRPC's five bytes before it.
            done: is given "" if all was well, else what failed.
        """
        stream = self._next_stream
        self._next_stream += 2
        self._open[stream] = done
        self._out.append(frame(_HEADERS, _END_HEADERS, stream, headers))
        size = len(message)
        if not self._waiting and size <= min(self._window, self._stream_window, self._max_frame):
            self._window -= size
            self._out.append(frame(_DATA, _END_STREAM, stream, message))
        else:
            self._waiting.append((stream, message, self._stream_window))
            self._send_waiting()
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _send_waiting(self) -> None:
        """Send of the oldest messages what the windows let through."""
        while self._waiting and self._window > 0:
            stream, message, window = self._waiting[0]
            size = min(len(message), self._window, window, self._max_frame)
            if size <= 0:
                return
            rest = message[size:]
            self._out.append(frame(_DATA, 0 if rest else _END_STREAM, stream, message[:size]))
            self._window -= size
            self._waiting[0] = stream, rest, window - size
            if not rest:
                self._waiting.popleft()

    def _flush(self) -> None:
        self._flushing = False
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, frame by frame."""
        arrived = self._arrived
        arrived += data
        position, end = 0, len(arrived)
        while end - position >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(arrived, position)
            after = position + _HEAD.size + (high << 16 | low)
            if after > end:
                break
            if kind == _DATA:
                self._received += after - position - _HEAD.size
            else:
                self._take(kind, flags, stream, bytes(arrived[position + _HEAD.size : after]))
            position = after
        del arrived[:position]
        if self._received > _LARGEST_WINDOW // 2:
            self._out.append(frame(_WINDOW, 0, 0, _NUMBER.pack(self._received)))
            self._received = 0
        self._flush()

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _HEADERS:
            if flags & _END_STREAM:
                self._finish(stream, failure_in(body))
        elif kind == _WINDOW:
            self._open_window(stream, _NUMBER.unpack(body)[0])
        elif kind == _SETTINGS and not flags & _ACK:
            self._settle(body)
        elif kind == _PING and not flags & _ACK:
            self._out.append(frame(_PING, _ACK, 0, body))
        elif kind == _RESET:
            self._finish(stream, "RESET")

    def _finish(self, stream: int, failure: str) -> None:
        done = self._open.pop(stream, None)
        if done is not None:
            done(failure)

    def _open_window(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
        else:
            for place, (waiting, rest, window) in enumerate(self._waiting):
                if waiting == stream:
                    self._waiting[place] = waiting, rest, window + size
        self._send_waiting()

    def _settle(self, body: bytes) -> None:
        for name, value in _SETTING.iter_unpack(body):
            if name == _INITIAL_WINDOW:
                more, self._stream_window = value - self._stream_window, value
                self._waiting = deque((stream, rest, window + more) for stream, rest, window in self._waiting)
            elif name == _MAX_FRAME:
                self._max_frame = value
        self._out.append(frame(_SETTINGS, _ACK, 0))
        self._send_waiting()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def failure_in(trailers: bytes) -> str:
    """Tell from a call's last headers what failed; "" if nothing did.

    >>> failure_in(b"\\x10\\x0bgrpc-status\\x010"), failure_in(b"\\x10\\x0bgrpc-status\\x018")
    ('', 'FAILED')
    """
    for name in _STATUS_NAMES:
        place = trailers.find(name)
        if place >= 0 and trailers.startswith(_STATUS_OK, place + len(name)):
            return ""
    return "FAILED"


async def connect(target: str) -> Connection:
    """Open a connection to HOST:PORT."""
    host, _, port = target.rpartition(":")
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, host.strip("[]"), int(port)
    )
    return connection


class Caller:
    """Calls one method over one connection."""

    def __init__(self, connection: Connection, method: str, authority: str, timeout_s: int) -> None:
        self._connection = connection
        self._headers = header_block(method, authority, timeout_s)

    def call(self, message: bytes, since: float, latencies_ms: list[float], done: Done) -> None:
        """Send a message; when it is answered note the milliseconds since then, unless it failed."""

        def answered(failure: str) -> None:
            if not failure:
                latencies_ms.append((time.perf_counter() - since) * 1e3)
            done(failure)

        self._connection.call(self._headers, message, answered)


def framed(message: bytes) -> bytes:
    """Put gRPC's five bytes before a message.

    >>> framed(b"abc").hex()
    '0000000003616263'
    """
    return b"\x00" + _NUMBER.pack(len(message)) + message
