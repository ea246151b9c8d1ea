"""What speaks HTTP/2: grpcio, or pygrpc-native (the extra `native`) behind the same handlers.

Both are given the same handlers, and the same limits where they know them.
"""

from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor_pool import Default

from server.config import ServerConfig
from server.native_server import NativeServer

GRPCIO, NATIVE = "grpcio", "native"

# Requests above our own limit and below this one get our status, with details; beyond, the library's.
_LIBRARY_SLACK = 2
# The connections of a client that opens too many streams wait, rather than the server.
_MAX_STREAMS = 1024
_MAX_METADATA_BYTES = 16 << 10
# One moves a gigabyte a second, which is more than a worker answers.
_IO_THREADS = 1


def make_grpc_server(config: ServerConfig) -> Any:
    """Make a server with neither handlers nor a port. Call inside the event loop that it is to run in.

    Raises:
        MissingExtra: if the transport is not installed.
    """
    if config.transport == GRPCIO:
        return grpc.aio.server(options=_options(config))
    front = {
        "io_threads": _IO_THREADS,
        "max_concurrent_streams": _MAX_STREAMS,
        "max_metadata_size": _MAX_METADATA_BYTES,
        "reuse_port": config.share_port,
    }
    return NativeServer(front, grpc.aio.server(options=_options(config)))


def add_handler(server: Any, handler: grpc.GenericRpcHandler) -> None:
    """Let a server answer by a handler."""
    server.add_generic_rpc_handlers((handler,))
    if isinstance(handler, grpc.ServiceRpcHandler):
        # pygrpc-native answers by itself only what it knows the names of; grpcio does nothing here.
        name = str(handler.service_name())
        server.add_registered_method_handlers(name, _methods(name, handler))


def _methods(service: str, handler: grpc.GenericRpcHandler) -> dict[str, Any]:
    methods = Default().FindServiceByName(service).methods
    found = {method.name: handler.service(_Details(f"/{service}/{method.name}")) for method in methods}
    return {name: method for name, method in found.items() if method is not None}


class _Details(grpc.HandlerCallDetails):
    """Names a method to a handler."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_request_bytes * _LIBRARY_SLACK),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", _MAX_STREAMS),
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        # A second server on the same port is a mistake, and told so, unless it is a worker of the same one.
        ("grpc.so_reuseport", int(config.share_port)),
        ("grpc.server_handshake_timeout_ms", round(config.handshake_timeout_s * 1000)),
        ("grpc.max_connection_idle_ms", 15 * 60_000),
        ("grpc.max_connection_age_ms", 60 * 60_000),  # clients connect anew, and so find all servers
        ("grpc.max_connection_age_grace_ms", 10 * 60_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Calls that wait for Python to look at them: beyond its own limit, a thousand, the library resets
        # them without a word, while ours says why and when to come back.
        ("grpc.server.max_pending_requests", 2 * config.max_concurrent_calls),
        ("grpc.server.max_pending_requests_hard_limit", 4 * config.max_concurrent_calls),
    ]
