"""One stream of upserts, for the asynchronous client."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any

import grpc

from protos.twinspire.v1 import items_pb2
from retrieval.errors import DeadlineExceeded, Unavailable
from twinspire import calls
from twinspire.connection import Connection
from twinspire.faults import error_from_call
from twinspire.results import UpsertReport
from twinspire.upserts import WINDOW, AnyItem, RequestCutter, UnacknowledgedRequests


async def cut_async(
    cutter: RequestCutter, items: Iterable[AnyItem] | AsyncIterable[AnyItem]
) -> AsyncIterator[items_pb2.UpsertItemsRequest]:
    """Cut an iterable of either kind into requests, reading only one request ahead."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            if request := cutter.add(item):
                yield request
        if request := cutter.rest():
            yield request
    else:
        for request in cutter.cut(items):
            yield request


async def send_requests_async(
    channel: grpc.aio.Channel,
    connection: Connection,
    requests: AsyncIterator[items_pb2.UpsertItemsRequest],
    pending: UnacknowledgedRequests,
    on_progress: Callable[[UpsertReport], None] | None,
    timeout_s: float,
) -> None:
    """Send what is pending and what is still to come over one stream, until all is acknowledged.

    Raises:
        TwinspireError: as the stream ended; `pending` then holds what another stream must send.
    """
    stream: Any = channel.stream_stream(
        calls.UPSERT_PATH,
        request_serializer=items_pb2.UpsertItemsRequest.SerializeToString,
        response_deserializer=items_pb2.UpsertItemsResponse.FromString,
    )(metadata=connection.metadata)
    target = connection.target
    more, sent, confirmed = True, 0, False
    try:
        while more or pending.requests:
            # One request alone first: if the stream is refused, reading its answer tells why; a failed
            # write would not.
            while sent < (WINDOW if confirmed else 1) and (more or sent < len(pending.requests)):
                if sent == len(pending.requests):
                    following = await anext(requests, None)
                    if following is None:
                        more = False
                        break
                    pending.requests.append(following)
                await _write(stream, pending.requests[sent], target)
                sent += 1
            if sent:
                report = pending.acknowledge(await _next_answer(stream, timeout_s, target))
                sent, confirmed = sent - 1, True
                if on_progress:
                    on_progress(report)
    except grpc.aio.AioRpcError as failed:
        raise error_from_call(failed, target) from failed
    finally:
        stream.cancel()


async def _write(stream: Any, request: items_pb2.UpsertItemsRequest, target: str) -> None:
    """Send one request. gRPC hides why a stream ended while writing, so any failure is a break."""
    try:
        await stream.write(request)
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError) as failed:
        raise Unavailable(f"the connection to the server at {target} broke") from failed


async def _next_answer(stream: Any, timeout_s: float, target: str) -> items_pb2.UpsertItemsResponse:
    """Wait for one acknowledgement."""
    try:
        answer = await asyncio.wait_for(stream.read(), timeout_s)
    except TimeoutError:
        message = f"the server at {target} acknowledged nothing for {timeout_s:g} s"
        raise DeadlineExceeded(message) from None
    if answer is grpc.aio.EOF:
        await _raise_why(stream)
        raise Unavailable(f"the server at {target} ended the stream before acknowledging it all")
    request: items_pb2.UpsertItemsResponse = answer
    return request


async def _raise_why(stream: Any) -> None:
    """Raise the error that a finished stream ended in, if it did."""
    code = await stream.code()
    if code is not grpc.StatusCode.OK:
        raise grpc.aio.AioRpcError(
            code, await stream.initial_metadata(), await stream.trailing_metadata(), await stream.details()
        )
