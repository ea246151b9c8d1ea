"""What every call shares: parsing inside the handler, the status of an error, counting, and stopping.

Handlers are registered on raw bytes. The library's own parsing would answer malformed bytes with INTERNAL
or UNKNOWN, and a raised exception with UNKNOWN and its text.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from retrieval.errors import InternalError, TwinspireError, Unimplemented
from server.access import Guard
from server.errors import MalformedRequest, RequestTooLarge, ShuttingDown
from server.gate import Gate
from server.logs import log
from server.memory import BadEnds, MemoryReturn
from server.metrics import Metrics
from server.status import DETAILS_KEY, status_of
from server.wire import refuse_two_kinds

RequestT = TypeVar("RequestT", bound=Message)
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Answer: TypeAlias = bytes | Message
UnaryMethod: TypeAlias = Callable[[RequestT, Context], Awaitable[Answer]]
StreamMethod: TypeAlias = Callable[[RequestT, Context], AsyncIterator[Answer]]


class Incoming(Generic[RequestT]):
    """A request as it came, which is parsed only if its bytes do not tell enough."""

    __slots__ = ("_charge", "_parse", "data")

    def __init__(
        self, data: bytes, parse: Callable[[bytes], RequestT], charge: Callable[[int], None] | None
    ) -> None:
        self.data = data
        self._parse = parse
        self._charge = charge

    def parse(self) -> RequestT:
        """Parse it, and charge for what is in it.

        Raises:
            MalformedRequest, AmbiguousRequest: if it is no such message.
            RateLimited: if it costs more than its key has left.
        """
        return self._parse(self.data)

    def charge(self, cost: int) -> None:
        """Charge for a request that is not going to be parsed.

        Raises:
            RateLimited: if it costs more than its key has left.
        """
        if self._charge is not None:
            self._charge(cost)


Begin: TypeAlias = Callable[
    [bytes, float | None, Callable[[int], None], Callable[[Any], None]], Callable[[], None] | None
]
BytesMethod: TypeAlias = Callable[[Incoming[RequestT], Context], Awaitable[Answer]]


class Calls:
    """Makes gRPC handlers out of plain methods on messages."""

    def __init__(self, metrics: Metrics, gate: Gate, max_request_bytes: int) -> None:
        self._metrics = metrics
        self._gate = gate
        self._max_request_bytes = max_request_bytes
        self._memory = MemoryReturn()
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
                    incoming = self._let_in(request, data, context, guard)
                    answer = _serialised(await method(incoming, context))
                finally:
                    self._gate.leave()
                record(started, "OK")
                return answer
            except asyncio.CancelledError:
                record(started, "CANCELLED")
                raise
            except Exception as error:
                failure = _failure(name, error)
            data, incoming = b"", None  # see _failure
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
            if len(data) > self._max_request_bytes or not self._gate.has_room:
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
                    context.fail(*self._told(record, started, _failure(name, outcome)))

            end = begin(data, context.deadline, admit, then)
            if end is not None:
                self._memory.took(len(data))
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
                    async for answer in method(self._take(request, data, context, guard), context):
                        await context.write(_serialised(answer))
                record(started, "OK")
                return
            except asyncio.CancelledError:
                record(started, "CANCELLED")
                raise
            except Exception as error:
                failure = _failure(name, error)
            data = b""  # see _failure
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
                            answer = await method(self._take(request, data, context, guard), context)
                            await context.write(_serialised(answer))
                        finally:
                            self._gate.leave()
                        record(started, "OK")
                return
            except asyncio.CancelledError:
                record(started, "CANCELLED")
                raise
            except Exception as error:
                failure = _failure(name, error)
            data = None  # see _failure
            await self._abort(context, record, started, failure)

        return grpc.stream_stream_rpc_method_handler(handle)

    def refusal(self, failure: TwinspireError) -> Any:
        """Make a handler that reads nothing and always fails alike."""
        record = self._recorder("unknown")

        async def handle(_requests: object, context: Context) -> None:
            await self._abort(context, record, time.perf_counter(), failure)

        return grpc.stream_stream_rpc_method_handler(handle)

    def _let_in(
        self, request: type[RequestT], data: bytes, context: Context, guard: Guard | None
    ) -> Incoming[RequestT]:
        """Take a request of somebody who may make it, unparsed."""
        if guard is None:
            self._check_size(data)
            return Incoming(data, partial(self._parse, request), None)
        principal = guard.admit(context)
        guard.charge(principal)
        self._check_size(data)

        def parse(data: bytes) -> RequestT:
            message = self._parse(request, data)
            guard.charge_for(principal, message)
            return message

        return Incoming(data, parse, partial(guard.charge_count, principal))

    def _take(self, request: type[RequestT], data: bytes, context: Context, guard: Guard | None) -> RequestT:
        """Parse a request, of somebody who may make it; a stream's next one may be of a key revoked since."""
        if guard is None:
            self._check_size(data)
            return self._parse(request, data)
        principal = guard.admit(context)
        guard.charge(principal)
        self._check_size(data)
        message = self._parse(request, data)
        guard.charge_for(principal, message)
        return message

    def _check_size(self, data: bytes) -> None:
        self._memory.took(len(data))
        if len(data) > self._max_request_bytes:
            raise RequestTooLarge(len(data), self._max_request_bytes)

    @staticmethod
    def _parse(request: type[RequestT], data: bytes) -> RequestT:
        try:
            message = request.FromString(data)
        except DecodeError:
            raise MalformedRequest(request.DESCRIPTOR.name) from None
        refuse_two_kinds(message, data)
        return message

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


def _failure(method: str, error: BaseException) -> TwinspireError:
    known = error if isinstance(error, TwinspireError) else unexpected(method, error)
    if isinstance(error, InternalError) and "error_id" not in error.metadata:
        error.metadata["error_id"] = _log_fault("fault of ours", method, error)
    # The library keeps an aborted call's frame in a circle until the garbage collector comes, which it
    # seldom does: the frames of the error, and the request's bytes in them, must not hang on it.
    known.__context__ = known.__cause__ = None
    return known.with_traceback(None)


def unexpected(where: str, error: BaseException) -> InternalError:
    """Log an error that nobody foresaw, and return one that tells its reader only where to look it up."""
    error_id = _log_fault("unexpected error", where, error)
    return InternalError(f"internal error {error_id}: the server's log has more", error_id=error_id)


def _log_fault(message: str, where: str, error: BaseException) -> str:
    error_id = secrets.token_hex(8)
    log(message, level=logging.ERROR, error=error, where=where, error_id=error_id)
    return error_id


class UnknownMethods(grpc.GenericRpcHandler):
    """Answers calls of methods that are not there. Add it last."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Make a handler that says so, whatever is sent."""
        return self._calls.refusal(Unimplemented(f"there is no method {handler_call_details.method}"))
