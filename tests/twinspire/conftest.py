"""A real gRPC server whose answers a test writes, for faults that a healthy server does not show."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from protos.twinspire.v1 import (
    collections_pb2,
    collections_pb2_grpc,
    items_pb2,
    items_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)
from twinspire import Client, RetryPolicy


def fault(
    code: grpc.StatusCode,
    message: str,
    *,
    reason: str = "",
    metadata: dict[str, str] | None = None,
    field_at_fault: str = "",
    retry_after_s: float | None = None,
) -> Status:
    """Build a status with details, as a server sends it."""
    status = Status(code=code.value[0], message=message)
    details: list[Any] = []
    if reason:
        details.append(ErrorInfo(reason=reason, domain="twinspire", metadata=metadata or {}))
    if field_at_fault:
        details.append(BadRequest(field_violations=[BadRequest.FieldViolation(field=field_at_fault)]))
    if retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(round(retry_after_s * 1000))
        details.append(RetryInfo(retry_delay=delay))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


Answer = Any  # a response message, or a Status to fail with


@dataclass
class Script:
    """What the server saw, and what it answers: the list's next entry, or the default."""

    search_answers: list[Answer] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    stored: dict[str, items_pb2.Item] = field(default_factory=dict)
    break_after_acks: list[int] = field(default_factory=list)  # one entry per stream
    stream_fault: Status = field(
        default_factory=lambda: fault(grpc.StatusCode.UNAVAILABLE, "restarting", reason="UNAVAILABLE")
    )
    store_before_breaking: bool = False
    upsert_hook: Callable[[items_pb2.UpsertItemsRequest], None] = lambda request: None
    upsert_sizes: list[int] = field(default_factory=list)


def _fail(context: grpc.ServicerContext, status: Status) -> None:
    context.abort_with_status(rpc_status.to_status(status))


class ScriptedSearch(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    def Search(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._answer(request, context, search_pb2.SearchResponse())

    def BatchSearch(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._answer(request, context, search_pb2.BatchSearchResponse())

    def _answer(self, request: Any, context: grpc.ServicerContext, default: Any) -> Any:
        self.script.requests.append(request)
        answer = self.script.search_answers.pop(0) if self.script.search_answers else default
        if isinstance(answer, Status):
            _fail(context, answer)
        return answer


class ScriptedItems(items_pb2_grpc.ItemServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    def UpsertItems(  # noqa: N802
        self, request_iterator: Iterator[items_pb2.UpsertItemsRequest], context: grpc.ServicerContext
    ) -> Iterator[items_pb2.UpsertItemsResponse]:
        script = self.script
        left = script.break_after_acks.pop(0) if script.break_after_acks else -1
        for request in request_iterator:
            script.upsert_hook(request)
            if left == 0 and not script.store_before_breaking:
                _fail(context, script.stream_fault)
            script.upsert_sizes.append(len(request.items))
            answer = items_pb2.UpsertItemsResponse(sequence=len(script.stored))
            for position, item in enumerate(request.items):
                if item.id == "refused":
                    error = fault(grpc.StatusCode.INVALID_ARGUMENT, "too long", reason="INVALID_ID")
                    answer.errors.append(items_pb2.ItemError(index=position, id=item.id, error=error))
                elif item.id in script.stored:
                    answer.unchanged += 1
                else:
                    script.stored[item.id] = item
                    answer.inserted += 1
            if left == 0:
                _fail(context, script.stream_fault)
            left -= 1
            yield answer

    def ListItems(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.script.requests.append(request)
        ids = sorted(self.script.stored)
        start = int(request.page_token or 0)
        end = start + request.page_size
        return items_pb2.ListItemsResponse(
            items=[self.script.stored[id] for id in ids[start:end]],
            next_page_token=str(end) if end < len(ids) else "",
        )

    CountItems = DeleteItems = GetItems = ListItems


class ScriptedCollections(collections_pb2_grpc.CollectionServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    def SetLiveVersion(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.script.requests.append(request)
        _fail(context, fault(grpc.StatusCode.UNAVAILABLE, "restarting"))
        return collections_pb2.SetLiveVersionResponse()

    GetCollection = ListCollections = ListIndexVersions = SetLiveVersion


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def scripted_target(script: Script) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    search_pb2_grpc.add_SearchServiceServicer_to_server(ScriptedSearch(script), server)
    items_pb2_grpc.add_ItemServiceServicer_to_server(ScriptedItems(script), server)
    collections_pb2_grpc.add_CollectionServiceServicer_to_server(ScriptedCollections(script), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture
def impatient() -> RetryPolicy:
    return RetryPolicy(attempts=3, first_delay_s=0.01, max_delay_s=0.02)


@pytest.fixture
def client(scripted_target: str, impatient: RetryPolicy) -> Iterator[Client]:
    with Client(scripted_target, retries=impatient, timeout_s=5.0) as client:
        yield client
