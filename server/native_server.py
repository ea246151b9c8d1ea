"""A server whose HTTP/2 runs outside of Python: pygrpc-native (the extra `native`) behind grpcio's interface.

Calls come to the event loop in batches, so that many cost one wake-up. Those of one request and one answer
are answered here; all others (streams, unknown methods) by a grpcio server on a socket in a private folder,
to which pygrpc-native passes them. See docs/decisions/057-native-transport.md.
"""

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio

from retrieval.errors import MissingExtra

Handle: TypeAlias = Callable[[bytes, Any], Any]
Lane: TypeAlias = Callable[["NativeContext", bytes], Callable[[], None] | None]

_EVENTS_AT_ONCE = 256
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]


class NativeContext:
    """What a handler learns of its call, as far as ours ask."""

    __slots__ = ("_call_id", "_code", "_deadline", "_front", "_metadata", "_running", "_trailing")

    def __init__(
        self,
        front: Any,
        running: dict[int, Callable[[], object]],
        call_id: int,
        details: tuple[Any, str, float | None],
    ) -> None:
        """Take a call; what ends it is taken out of `running` once it is answered."""
        self._front = front
        self._running = running
        self._call_id = call_id
        self._metadata, _, remaining = details
        self._deadline = None if remaining is None else time.perf_counter() + remaining
        self._code: grpc.StatusCode | None = None
        self._trailing: Sequence[tuple[str, str | bytes]] = ()

    @property
    def deadline(self) -> float | None:
        """When nobody waits any more, on `time.perf_counter`; None if somebody waits for ever."""
        return self._deadline

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.perf_counter())

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Return what the client sent beside its request."""
        metadata: Sequence[tuple[str, str | bytes]] = self._metadata
        return metadata

    def code(self) -> grpc.StatusCode | None:
        """Return the code that the call was aborted with."""
        return self._code

    def trailing_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Return what the abortion added."""
        return self._trailing

    def respond(self, answer: bytes) -> None:
        """Answer the call."""
        self._running.pop(self._call_id, None)
        self._front.respond(self._call_id, answer)

    def fail(
        self, code: grpc.StatusCode, message: str, trailing: Sequence[tuple[str, str | bytes]] = ()
    ) -> None:
        """Fail the call."""
        self._code, self._trailing = code, trailing
        self._running.pop(self._call_id, None)
        self._front.fail(self._call_id, code.value[0], message, list(trailing))

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> NoReturn:
        """Fail the call, and end its handler."""
        self.fail(code, details, trailing_metadata)
        raise grpc.aio.AbortError(details)


class NativeServer:
    """Implements what the server uses of `grpc.aio.Server`."""

    def __init__(self, options: dict[str, Any], fallback: grpc.aio.Server) -> None:
        """Take what will answer the calls that are not answered here.

        Args:
            options: of NativeGrpcFront.
            fallback: a server without a port.

        Raises:
            MissingExtra: if pygrpc-native is not installed.
        """
        try:
            self._library: Any = import_module("pygrpc_native")
        except ImportError as error:
            raise MissingExtra("--transport native", "native") from error
        self._options = options
        self._fallback = fallback
        self._front: Any = None
        self._paths: list[str] = []
        self._handles: list[Handle] = []
        self._lanes: dict[str, Lane] = {}
        self._by_number: list[Lane | None] = []
        self._running: dict[int, Callable[[], object]] = {}  # what ends a call whose client went away
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._folder = Path()
        self._reader: threading.Thread | None = None

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Let the server behind answer by these."""
        self._fallback.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Answer here those of one request and one answer."""
        for name, handler in handlers.items():
            if handler.unary_unary is not None:
                self._paths.append(f"/{service}/{name}")
                self._handles.append(handler.unary_unary)

    def add_lane(self, path: str, lane: Lane) -> None:
        """Let calls of a method be begun without a task of their own, where that can be."""
        self._lanes[path] = lane

    def add_insecure_port(self, address: str) -> int:
        """Reserve a port.

        Raises:
            RuntimeError: if it is taken.
        """
        try:
            self._front = self._library.NativeGrpcFront(address, [], call_details=True, **self._options)
        except OSError as error:
            raise RuntimeError(f"cannot bind {address}") from error
        return int(self._front.bound_port)

    async def start(self) -> None:
        """Begin to answer, in the loop that runs."""
        self._folder = Path(tempfile.mkdtemp(prefix="twinspire-"))
        socket = self._folder / "fallback"
        self._fallback.add_insecure_port(f"unix:{socket}")
        await self._fallback.start()
        self._front.set_fallback(str(socket))
        self._front.add_methods([(path, False) for path in self._paths])
        self._by_number = [self._lanes.get(path) for path in self._paths]
        self._front.start()
        loop = asyncio.get_running_loop()
        self._reader = threading.Thread(target=self._read, args=(loop,), name="native-calls", daemon=True)
        self._reader.start()

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, give those that run some time, and close the port."""
        self._stopping = True
        behind = asyncio.ensure_future(self._fallback.stop(grace))
        if grace and self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for end in list(self._running.values()):
            end()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await behind
        await asyncio.to_thread(self._front.close)
        if self._reader is not None:
            await asyncio.to_thread(self._reader.join)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand what comes to the event loop, as much at once as there is."""
        front = self._front
        while (events := front.recv_batch_details(_EVENTS_AT_ONCE)) is not None:
            try:
                loop.call_soon_threadsafe(self._take, events)
            except RuntimeError:  # the loop is closed
                front.close()
                return
            del events

    def _take(self, events: list[Any]) -> None:
        for kind, call_id, number, data, _, details in events:
            if kind != self._library.EVENT_CALL:
                end = self._running.pop(call_id, None)
                if end is not None:
                    end()
            elif self._stopping:
                self._front.fail(call_id, _UNAVAILABLE, "the server is stopping")
            else:
                context = NativeContext(self._front, self._running, call_id, details)
                self._begin(context, call_id, number, data)

    def _begin(self, context: NativeContext, call_id: int, number: int, data: bytes) -> None:
        lane = self._by_number[number]
        end: Callable[[], object] | None = lane(context, data) if lane is not None else None
        if end is None:
            task = asyncio.get_running_loop().create_task(self._answer(context, call_id, number, data))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            end = task.cancel
        self._running[call_id] = end

    async def _answer(self, context: NativeContext, call_id: int, number: int, data: bytes) -> None:
        try:
            context.respond(await self._handles[number](data, context))
        except grpc.aio.AbortError:
            pass  # the client has been told
        finally:
            self._running.pop(call_id, None)
