"""One stream of upserts, for the synchronous client."""

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import grpc

from protos.twinspire.v1 import items_pb2
from retrieval.errors import DeadlineExceeded, Unavailable
from twinspire import calls
from twinspire.connection import Connection
from twinspire.faults import error_from_call
from twinspire.results import UpsertReport
from twinspire.upserts import UnacknowledgedRequests


def send_requests(
    channel: grpc.Channel,
    connection: Connection,
    requests: Iterator[items_pb2.UpsertItemsRequest],
    pending: UnacknowledgedRequests,
    on_progress: Callable[[UpsertReport], None] | None,
    timeout_s: float,
) -> None:
    """Send what is pending and what is still to come over one stream, until all is acknowledged.

    The user's iterable runs in the caller's thread, not in one of gRPC's, where its errors would be lost.

    Raises:
        TwinspireError: as the stream ended; `pending` then holds what another stream must send.
    """
    outbox: SimpleQueue[items_pb2.UpsertItemsRequest | None] = SimpleQueue()
    for request in pending.requests:
        outbox.put(request)
    stream: Any = channel.stream_stream(
        calls.UPSERT_PATH,
        request_serializer=items_pb2.UpsertItemsRequest.SerializeToString,
        response_deserializer=items_pb2.UpsertItemsResponse.FromString,
    )(iter(outbox.get, None), metadata=connection.metadata)
    try:
        more = True
        while more or pending.requests:
            while more and not pending.full:
                following = next(requests, None)
                outbox.put(following)
                if following is None:
                    more = False
                else:
                    pending.requests.append(following)
            if pending.requests:
                report = pending.acknowledge(_next_answer(stream, timeout_s, connection.target))
                if on_progress:
                    on_progress(report)
    finally:
        outbox.put(None)  # lets gRPC's sending thread end
        stream.cancel()


def _next_answer(stream: Any, timeout_s: float, target: str) -> items_pb2.UpsertItemsResponse:
    """Wait for one acknowledgement."""
    timed_out = threading.Event()

    def give_up() -> None:
        timed_out.set()
        stream.cancel()

    watchdog = threading.Timer(timeout_s, give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        answer: items_pb2.UpsertItemsResponse = next(stream)
        return answer
    except StopIteration:
        raise Unavailable(f"the server at {target} ended the stream before acknowledging it all") from None
    except grpc.RpcError as failed:
        if timed_out.is_set():
            message = f"the server at {target} acknowledged nothing for {timeout_s:g} s"
            raise DeadlineExceeded(message) from failed
        raise error_from_call(failed, target) from failed
    finally:
        watchdog.cancel()
