"""The composition root: puts a server together, runs it, and stops it without dropping a call."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from protos.twinspire.v1 import collections_pb2, encoders_pb2, items_pb2, search_pb2, server_pb2
from retrieval.errors import BackendUnavailable
from retrieval.item_store import item_store
from retrieval.redis_address import redis_is_given
from retrieval.workspace import DATABASE_FILE, Workspace
from server import health as health_service
from server import reflection
from server.access import Access
from server.calls import Calls, UnknownMethods
from server.certificates import Certificates
from server.collection_service import CollectionService
from server.config import ServerConfig
from server.encoder_service import EncoderService
from server.failures import unexpected
from server.gate import Gate
from server.health import SEARCH_SERVICE, Health
from server.item_service import ItemService
from server.live import Live
from server.loading import Encoders, LoadEncoder, Loader, load_encoder_lazily
from server.logs import configure_logs, log
from server.memory import settle_memory
from server.metrics import Metrics
from server.native_server import NativeServer
from server.paging import PageTokens, workspace_key
from server.permissions import HEALTH, REFLECTION
from server.search_service import SearchService
from server.server_service import ServerService
from server.shared_rates import SharedRates
from server.threads import event_loop_runner, use_one_thread_per_call
from server.transport import add_handler, make_grpc_server
from server.watching import watch
from server.workers import Workers

_FILES = (search_pb2, items_pb2, encoders_pb2, collections_pb2, server_pb2)


def _services() -> list[Any]:
    """List the descriptors of our services."""
    return [service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()]


def _handlers(
    calls: Calls, service: Any, servicer: object, access: Access | None, tracing: Any
) -> dict[str, Any]:
    """Make the handlers of a service: its method UpsertItems is answered by the servicer's upsert_items."""
    handlers = {}
    for method in service.methods:
        answer = getattr(servicer, re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower())
        make: Any = calls.both_streams if method.client_streaming else calls.unary
        if isinstance(servicer, SearchService):
            make = calls.unary_bytes
        guard = access.guard(f"{service.full_name}/{method.name}") if access else None
        made = make(method.name, GetMessageClass(method.input_type), answer, guard)
        handlers[method.name] = tracing.traced(service.full_name, method.name, made) if tracing else made
    return handlers


SERVICES = [service.full_name for service in _services()]


class Server:
    """One running server."""

    def __init__(
        self,
        ws: Workspace,
        config: ServerConfig,
        *,
        load_encoder: LoadEncoder = load_encoder_lazily,
        rates: SharedRates | None = None,
    ) -> None:
        """Put the parts together; nothing runs yet. Call inside the event loop that it is to run in.

        Args:
            ws: what is served.
            config: the settings.
            load_encoder: loads a model folder.
            rates: where the rates of keys are counted together with other workers.
        """
        self._ws = ws
        self._config = config
        self.metrics = Metrics()
        self.gate = Gate(config.max_concurrent_calls)
        self.health = Health(SERVICES)
        self._workers = Workers(config.max_queued_tasks)
        self._encoders = Encoders(ws, load_encoder)
        loader = Loader(ws, self._encoders, allow_partial=config.allow_partial)
        self.live = Live(ws, config, loader, self._workers, self.metrics, self.health)
        self.metrics.in_flight.set_function(lambda: self.gate.in_flight)
        self.metrics.queued.set_function(lambda: self.live.queued)
        self._access = Access(config.keys_file, config.rate_limit, rates) if config.keys_file else None
        self._certificates = _certificates(config)
        self._tracing = _tracing() if config.traces else None
        self._grpc = make_grpc_server(config)
        self.handlers: list[grpc.GenericRpcHandler] = []
        self._add_handlers()
        self._watchers: list[asyncio.Task[None]] = []
        self._metrics_server: Any = None
        self.port = 0
        self.metrics_port = 0

    def _add_handlers(self) -> None:
        calls = Calls(self.metrics, self.gate, self._config.max_request_bytes)
        servicers = self._servicers()
        for service in _services():
            handlers = _handlers(calls, service, servicers[service.name], self._access, self._tracing)
            self._add(grpc.method_handlers_generic_handler(service.full_name, handlers))
        self._add_lanes(calls, servicers["SearchService"])
        self._add(health_service.handler(calls, self.health))
        if self._config.reflection:
            names = [*SERVICES, HEALTH, REFLECTION]
            guard = self._access.guard(f"{REFLECTION}/ServerReflectionInfo") if self._access else None
            self._add(reflection.handler(calls, names, guard))
        self._add(UnknownMethods(calls))

    def _add_lanes(self, calls: Calls, searches: object) -> None:
        """Let a transport that can begin searches without a task for each; traces need the task."""
        if not isinstance(self._grpc, NativeServer) or self._tracing is not None:
            return
        assert isinstance(searches, SearchService)
        for method in ("Search", "BatchSearch"):
            path = f"{SEARCH_SERVICE}/{method}"
            begin = partial(searches.begin, enclosed=method == "BatchSearch")
            guard = self._access.guard(path) if self._access else None
            self._grpc.add_lane(f"/{path}", calls.lane(method, begin, guard))

    def _add(self, handler: grpc.GenericRpcHandler) -> None:
        add_handler(self._grpc, handler)
        self.handlers.append(handler)

    def _servicers(self) -> dict[str, object]:
        """Make what answers each of our services."""
        store = item_store(self._ws)
        tokens = PageTokens(workspace_key(self._ws.root))
        return {
            "SearchService": SearchService(self.live, self.metrics),
            "ItemService": ItemService(
                store, self._encoders.files, self.live, self._workers, self.metrics, tokens
            ),
            "EncoderService": EncoderService(self._ws, self.live, self._encoders, self._workers),
            "CollectionService": CollectionService(self._ws, store, self.live, self._workers),
            "ServerService": ServerService(self._config, self.live),
        }

    async def start(self) -> None:
        """Listen, load what is live, and say SERVING.

        Raises:
            BackendUnavailable: if the port is taken.
        """
        if self._config.share_port:  # connections come as soon as it is open, though others are ready
            await self.live.start()
        self.port = self._listen()
        if self._config.metrics_port is not None:
            config = self._config
            self._metrics_server, _ = self.metrics.serve(config.metrics_host, config.metrics_port or 0)
            self.metrics_port = self._metrics_server.server_port
        await self._grpc.start()
        if not self._config.share_port:
            await self.live.start()
        watching = watch(self._ws, self.live, self._workers, self._config.watch_interval_s)
        self._watchers = [asyncio.create_task(watching)]
        if self._access or self._certificates:
            self._watchers.append(asyncio.create_task(self._watch_secrets()))

    async def _watch_secrets(self) -> None:
        """Take over keys and certificates that change, until cancelled."""
        watched = [secret for secret in (self._access, self._certificates) if secret]
        while True:
            await asyncio.sleep(self._config.secrets_interval_s)
            for secret in watched:
                try:
                    await asyncio.to_thread(secret.refresh)
                except Exception as error:  # the next change is to be noticed all the same
                    unexpected("secrets", error)

    def _listen(self) -> int:
        address = f"{self._config.host}:{self._config.port}"
        try:
            if self._certificates is None:
                port = self._grpc.add_insecure_port(address)
            else:
                port = self._grpc.add_secure_port(address, self._certificates.credentials())
        except RuntimeError:
            port = 0
        if not port:
            raise BackendUnavailable(f"cannot listen on {address}: is another server running there?")
        return int(port)

    async def stop(self) -> None:
        """Take no more calls, finish those that run, and release everything."""
        log("stopping", in_flight=self.gate.in_flight)
        await self.health.close()
        finished = await self.gate.close(self._config.shutdown_grace_s, self._config.shutdown_quiet_s)
        await self._grpc.stop(1.0 if finished else 0.0)
        for watcher in self._watchers:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        await self.live.close()
        await asyncio.to_thread(self._workers.close)
        await asyncio.to_thread(self._encoders.close)
        if self._metrics_server is not None:
            await asyncio.to_thread(self._metrics_server.shutdown)
            self._metrics_server.server_close()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        log("stopped", finished=finished)


def _certificates(config: ServerConfig) -> Certificates | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    return Certificates(config.tls_cert, config.tls_key, config.tls_client_ca)


def _tracing() -> Any:
    from server.tracing import Tracing  # needs the extra otel

    return Tracing()


def open_workspace(root: Path) -> Workspace:
    """Open the workspace to serve; where there is no database, but an address of Redis, follow that.

    Raises:
        UnusableWorkspace: if there is neither.
        BackendUnavailable: if Redis does not answer.
    """
    if (root / DATABASE_FILE).exists() or not redis_is_given():
        return Workspace(root)
    from server.mirror import RedisMirror  # needs redis

    return RedisMirror(root / "models")


async def _serve(config: ServerConfig, announce: Callable[[str], None]) -> None:
    with open_workspace(config.workspace) as ws:
        server = Server(ws, config)
        stop = asyncio.Event()
        with _signals(stop):
            await server.start()
            settle_memory()
            announce(f"serving {len(server.live.served)} collections on {config.host}:{server.port}")
            log("serving", port=server.port, metrics_port=server.metrics_port, pid=os.getpid())
            await stop.wait()
        await server.stop()


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Set the event at the first SIGTERM or SIGINT; end the process at the second."""

    def first_or_second(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, first_or_second, number)
    yield


def serve(config: ServerConfig, announce: Callable[[str], None]) -> None:
    """Run a server until SIGTERM or SIGINT.

    Args:
        config: its settings.
        announce: is given one line once searches are answered.

    Raises:
        UnusableWorkspace: if there is no workspace.
        InsecureAddress: if it would listen beyond loopback, in clear or open to everybody.
        InvalidKeysFile, InvalidCertificates: if they cannot be used.
        BackendUnavailable: if the port is taken.
        WorkerFailed: if one of several workers cannot start.
    """
    if config.workers > 1:
        from server.fleet import serve_fleet  # which runs this module's server in other processes

        serve_fleet(config, announce)
        return
    configure_logs()
    use_one_thread_per_call()
    run = event_loop_runner()
    run(_serve(config, announce))
