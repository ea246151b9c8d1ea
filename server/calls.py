"""What every call shares: parsing inside the handler, the status of an error, counting, and stopping.

Handlers are registered on raw bytes. The library's own parsing would answer malformed bytes with INTERNAL
or UNKNOWN, and a raised exception with UNKNOWN and its text.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message

from retrieval.errors import TwinspireError, Unimplemented
from server.access import Guard
from server.errors import ShuttingDown
from server.failures import last_word
from server.gate import Gate
from server.incoming import Incoming, Intake, RequestT
from server.memory import BadEnds
from server.metrics import Metrics
from server.status import DETAILS_KEY, status_of

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Answer: TypeAlias = bytes | Message
UnaryMethod: TypeAlias = Callable[[RequestT, Context], Awaitable[Answer]]
StreamMethod: TypeAlias = Callable[[RequestT, Context], AsyncIterator[Answer]]
BytesMethod: TypeAlias = Callable[[Incoming[RequestT], Context], Awaitable[Answer]]
Begin: TypeAlias = Callable[
    [bytes, float | None, Callable[[int], None], Callable[[Any], None]], Callable[[], None] | None
]


class Calls:
    """Makes gRPC handlers out of plain methods on messages."""

    def __init__(self, metrics: Metrics, gate: Gate, max_request_bytes: int) -> None:
        self._metrics = metrics
        self._gate = gate
        self._intake = Intake(max_request_bytes)
        self._bad_ends = BadEnds()

    def unary(
        self,
        name: str,
        request: type[RequestT],
        method: UnaryMethod[RequestT],
        guard: Guard | None = None,
    ) -> Any:
        """Make the handler of a call with one request and one answer, which a guard may refuse."""

        async def parsed(incoming: Incoming[RequestT], context: Context) -> Answer:
            return await method(incoming.parse(), context)

        return self.unary_bytes(name, request, parsed, guard)

    def unary_bytes(
        self,
        name: str,
        request: type[RequestT],
        method: BytesMethod[RequestT],
        guard: Guard | None = None,
    ) -> Any:
        """Make the handler of a call with one request and one answer, whose method parses for itself."""
        record = self._recorder(name)

        async def handle(data: bytes, context: Context) -> bytes:
            started = time.perf_counter()
            incoming = None
            try:
                self._gate.enter()
                try:
                    incoming = self._intake.take(request, data, context, guard)
                    answer = _serialised(await method(incoming, context))
                finally:
                    self._gate.leave()
                record(started, "OK")
                return answer
            except asyncio.CancelledError:
                record(started, "CANCELLED")
                raise
            except Exception as error:
                failure = last_word(name, error)
            data, incoming = b"", None  # see last_word
            return await self._abort(context, record, started, failure)

        return grpc.unary_unary_rpc_method_handler(handle)

    def lane(self, name: str, begin: Begin, guard: Guard | None = None) -> Any:
        """Make what begins a call without a task of its own, for a transport that can.

        Args:
            name: of the method.
            begin: begins what needs no closer look, and returns what ends it early; None for all else.
            guard: may refuse the call.

        Returns:
            A function of a context and the bytes of a request that does as `begin` does.
        """
        record = self._recorder(name)

        def attempt(context: Any, data: bytes) -> Callable[[], None] | None:
            if len(data) > self._intake.max_bytes or not self._gate.has_room:
                return None
            started = time.perf_counter()

            def admit(count: int) -> None:
                if guard is not None:
                    principal = guard.admit(context)
                    guard.charge(principal)
                    guard.charge_count(principal, count)

            def then(outcome: bytes | BaseException) -> None:
                self._gate.leave()
                if isinstance(outcome, bytes):
                    record(started, "OK")
                    context.respond(outcome)
                elif isinstance(outcome, asyncio.CancelledError):
                    record(started, "CANCELLED")
                else:
                    context.fail(*self._told(record, started, last_word(name, outcome)))

            end = begin(data, context.deadline, admit, then)
            if end is not None:
                self._intake.memory.took(len(data))
                self._gate.enter()
            return end

        return attempt

    def server_stream(
        self,
        name: str,
        request: type[RequestT],
        method: StreamMethod[RequestT],
        guard: Guard | None = None,
    ) -> Any:
        """Make the handler of a call with one request and many answers."""
        record = self._recorder(name)

        async def handle(data: bytes, context: Context) -> None:
            started = time.perf_counter()
            try:
                with self._gate.stream():
                    async for answer in method(
                        self._intake.take(request, data, context, guard).parse(), context
                    ):
                        await context.write(_serialised(answer))
                record(started, "OK")
                return
            except asyncio.CancelledError:
                record(started, "CANCELLED")
                raise
            except Exception as error:
                failure = last_word(name, error)
            data = b""  # see last_word
            await self._abort(context, record, started, failure)

        return grpc.unary_stream_rpc_method_handler(handle)

    def both_streams(
        self,
        name: str,
        request: type[RequestT],
        method: UnaryMethod[RequestT],
        guard: Guard | None = None,
    ) -> Any:
        """Make the handler of a call whose requests are answered one by one, in order."""
        record = self._recorder(name)

        async def handle(_requests: object, context: Context) -> None:
            started = time.perf_counter()
            try:
                if guard is not None:
                    guard.admit(context)  # else somebody without a key could hold a stream open
                with self._gate.stream():
                    while (data := await self._next(context)) is not None:
                        started = time.perf_counter()
                        self._gate.enter()
                        try:
                            answer = await method(
                                self._intake.take(request, data, context, guard).parse(), context
                            )
                            await context.write(_serialised(answer))
                        finally:
                            self._gate.leave()
                        record(started, "OK")
                return
            except asyncio.CancelledError:
                record(started, "CANCELLED")
                raise
            except Exception as error:
                failure = last_word(name, error)
            data = None  # see last_word
            await self._abort(context, record, started, failure)

        return grpc.stream_stream_rpc_method_handler(handle)

    def refusal(self, failure: TwinspireError) -> Any:
        """Make a handler that reads nothing and always fails alike."""
        record = self._recorder("unknown")

        async def handle(_requests: object, context: Context) -> None:
            await self._abort(context, record, time.perf_counter(), failure)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _next(self, context: Context) -> bytes | None:
        """Read a stream's next request, None at its end; a stopping server does not wait for it."""
        reading = asyncio.ensure_future(context.read())
        closing = asyncio.ensure_future(self._gate.closing.wait())
        try:
            await asyncio.wait({reading, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise ShuttingDown()
            data = reading.result()
            return data if isinstance(data, bytes) else None  # EOF
        finally:
            reading.cancel()
            closing.cancel()

    def _recorder(self, name: str) -> Callable[[float, str], None]:
        seconds = self._metrics.seconds.labels(name)
        codes: dict[str, Any] = {}

        def record(started: float, code: str) -> None:
            counter = codes.get(code)
            if counter is None:
                counter = codes[code] = self._metrics.requests.labels(name, code)
            counter.inc()
            seconds.observe(time.perf_counter() - started)
            if code != "OK":
                self._bad_ends.count()

        return record

    async def _abort(
        self,
        context: Context,
        record: Callable[[float, str], None],
        started: float,
        failure: TwinspireError,
    ) -> NoReturn:
        code, message, details = self._told(record, started, failure)
        await context.abort(code, message, trailing_metadata=details)

    def _told(
        self, record: Callable[[float, str], None], started: float, failure: TwinspireError
    ) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes]]]:
        """Count a failure, and return its code, its message and its details."""
        status = status_of(failure)
        code = _CODES[status.code]
        record(started, code.name)
        self._metrics.errors.labels(failure.reason).inc()
        return code, status.message, ((DETAILS_KEY, status.SerializeToString()),)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _serialised(answer: Answer) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


class UnknownMethods(grpc.GenericRpcHandler):
    """Answers calls of methods that are not there. Add it last."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Make a handler that says so, whatever is sent."""
        return self._calls.refusal(Unimplemented(f"there is no method {handler_call_details.method}"))
