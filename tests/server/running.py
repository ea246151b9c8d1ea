"""A real server on a free port of loopback, with clients beside it."""

import asyncio
import os
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from protos.twinspire.v1 import (
    collections_pb2_grpc,
    encoders_pb2_grpc,
    items_pb2,
    items_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
    server_pb2_grpc,
)
from retrieval.workspace import Workspace
from server.app import Server
from server.config import ServerConfig
from server.loading import LoadEncoder, load_encoder_lazily
from tests.server.workspaces import COLLECTION

TIMEOUT_S = 20.0
# The same tests hold whatever speaks HTTP/2: `make test-native` runs them with pygrpc-native.
TRANSPORT = os.environ.get("TWINSPIRE_TEST_TRANSPORT", "grpcio")


@dataclass
class Running:
    """A server that runs in a thread, and clients of it."""

    ws: Workspace
    server: Server
    loop: asyncio.AbstractEventLoop
    channel: grpc.Channel
    search: search_pb2_grpc.SearchServiceStub = field(init=False)
    items: items_pb2_grpc.ItemServiceStub = field(init=False)
    encoders: encoders_pb2_grpc.EncoderServiceStub = field(init=False)
    collections: collections_pb2_grpc.CollectionServiceStub = field(init=False)
    info: server_pb2_grpc.ServerServiceStub = field(init=False)

    def __post_init__(self) -> None:
        self.search = search_pb2_grpc.SearchServiceStub(self.channel)
        self.items = items_pb2_grpc.ItemServiceStub(self.channel)
        self.encoders = encoders_pb2_grpc.EncoderServiceStub(self.channel)
        self.collections = collections_pb2_grpc.CollectionServiceStub(self.channel)
        self.info = server_pb2_grpc.ServerServiceStub(self.channel)

    def find(self, text: str = "", **fields: Any) -> search_pb2.SearchResponse:
        """Search by text, or by what the fields say."""
        query = fields.pop("query", None) or search_pb2.Query(text=text)
        request = search_pb2.SearchRequest(
            collection=fields.pop("collection", COLLECTION), query=query, **fields
        )
        return self.search.Search(request, timeout=TIMEOUT_S)

    def ids(self, text: str = "", **fields: Any) -> list[str]:
        """Search, and return the ids of the hits."""
        return [hit.id for hit in self.find(text, **fields).hits]

    def upsert(self, *items: items_pb2.Item, **fields: Any) -> items_pb2.UpsertItemsResponse:
        """Upsert items in one request."""
        request = items_pb2.UpsertItemsRequest(
            collection=fields.pop("collection", COLLECTION), items=items, **fields
        )
        (answer,) = self.items.UpsertItems(iter([request]), timeout=TIMEOUT_S)
        return answer

    def raw(self, method: str, data: bytes) -> bytes:
        """Call a unary method with any bytes."""
        call: Any = self.channel.unary_unary(f"/twinspire.v1.{method}")
        answer: bytes = call(data, timeout=TIMEOUT_S)
        return answer

    def run(self, coroutine: Any) -> Any:
        """Run something in the server's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT_S)

    def metric(self, name: str, **labels: str) -> float:
        """Read a metric."""
        return self.server.metrics.registry.get_sample_value(name, labels) or 0.0


@dataclass
class Failure:
    """A failed call: its status code and its details."""

    code: grpc.StatusCode
    message: str
    details: list[Message]

    @property
    def reason(self) -> str:
        """The reason of the ErrorInfo."""
        reason: str = self.detail(error_details_pb2.ErrorInfo).reason
        return reason

    def detail(self, kind: type[Any]) -> Any:
        """Return the one detail of a kind."""
        (found,) = [detail for detail in self.details if isinstance(detail, kind)]
        return found


_KINDS: list[type[Message]] = [
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.QuotaFailure,
    error_details_pb2.PreconditionFailure,
]


def unpack(status: status_pb2.Status) -> list[Message]:
    """Unpack the details of a status."""
    details: list[Message] = []
    for packed in status.details:
        (kind,) = [kind for kind in _KINDS if packed.Is(kind.DESCRIPTOR)]
        details.append(kind())
        packed.Unpack(details[-1])
    return details


def failure_of(error: grpc.RpcError) -> Failure:
    """Read the status of a failed call."""
    metadata: dict[str, Any] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]
    status = status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b""))
    return Failure(error.code(), error.details() or "", unpack(status))


def run_server(
    ws: Workspace, load_encoder: LoadEncoder = load_encoder_lazily, **settings: Any
) -> Generator[Running, None, None]:
    """Run a server over a workspace until the generator is closed.

    The server opens a plain workspace for itself, so a test may close its own while the server still runs.
    """
    values: dict[str, Any] = {
        "port": 0,
        "shutdown_grace_s": 2.0,
        "shutdown_quiet_s": 0.0,
        "watch_interval_s": 0.05,
        "transport": "grpcio" if "tls_cert" in settings else TRANSPORT,
    } | settings
    config = ServerConfig(workspace=ws.root, **values)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    own = Workspace(ws.root, busy_timeout_s=ws.busy_timeout_s) if type(ws) is Workspace else ws

    async def start() -> Server:
        server = Server(own, config, load_encoder=load_encoder)
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(TIMEOUT_S)
    try:
        with grpc.insecure_channel(
            f"127.0.0.1:{server.port}", options=[("grpc.max_receive_message_length", -1)]
        ) as channel:
            yield Running(ws, server, loop, channel)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        if own is not ws:
            own.close()
