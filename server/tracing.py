"""Traces by OpenTelemetry, the extra `otel`: one span a call, with the stages of its searches.

Nothing here is imported unless traces are asked for. Where they go, which are sampled and what else they
carry is told by the variables of OpenTelemetry: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER,
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. A span holds no query, no item and no id.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from protos.twinspire.v1 import search_pb2
from retrieval.errors import MissingExtra
from server.status import DETAILS_KEY

try:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise MissingExtra("--traces", "otel") from error

Handle: TypeAlias = Callable[[Any, Any], Awaitable[Any]]

# What is the server's own fault; the others are the caller's, and are no error of a server's span.
_OUR_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_STAGES = ("queue_ms", "encode_ms", "search_ms", "fetch_ms", "total_ms", "batch_size")
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Tracing:
    """Makes spans and sends them away, in a thread of its own."""

    def __init__(self) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME", "twinspire")
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("twinspire.server")
        self._propagator = TraceContextTextMapPropagator()

    def traced(self, service: str, method: str, handler: Any) -> Any:
        """Wrap a method handler, so that each call of it becomes a span."""
        kind = next(kind for kind in _KINDS if getattr(handler, kind) is not None)
        handle: Handle = getattr(handler, kind)
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}

        async def trace(request: Any, context: Any) -> Any:
            span = self._tracer.start_span(
                f"{service}/{method}",
                context=self._propagator.extract(_metadata(context.invocation_metadata())),
                kind=SpanKind.SERVER,
                attributes=attributes,
            )
            code, answer = grpc.StatusCode.OK, None
            try:
                answer = await handle(request, context)
                return answer
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except BaseException:  # `abort` raises, after it has set the code
                code = _code_of(context)
                raise
            finally:
                if span.is_recording():
                    _describe(span, code, context)
                    if answer is not None:
                        _add_stages(span, method, answer)
                span.end()

        return handler._replace(**{kind: trace})

    def close(self) -> None:
        """Send what is left, and stop. Blocks until it is sent, or for as long as OTEL_* says."""
        self._provider.shutdown()


def _code_of(context: Any) -> grpc.StatusCode:
    """Return the code that a call was aborted with; grpc.aio tells it by the class or by its number."""
    told = context.code()
    return told if isinstance(told, grpc.StatusCode) else _CODES.get(told, grpc.StatusCode.UNKNOWN)


def _metadata(pairs: Iterable[tuple[str, Any]] | None) -> Mapping[str, str]:
    return {key: value for key, value in pairs or () if isinstance(value, str)}


def _describe(span: Span, code: grpc.StatusCode, context: Any) -> None:
    """Tell how a call ended: its code, and why."""
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code is grpc.StatusCode.OK:
        return
    if reason := _reason(context.trailing_metadata()):
        span.set_attribute("twinspire.reason", reason)
    if code in _OUR_FAULTS:
        span.set_status(Status(StatusCode.ERROR))  # without the message, which may quote a request


def _reason(metadata: Iterable[tuple[str, Any]] | None) -> str:
    details = dict(metadata or ()).get(DETAILS_KEY, b"")
    info = error_details_pb2.ErrorInfo()
    with suppress(DecodeError, TypeError):
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(info):
                return str(info.reason)
    return ""


def _add_stages(span: Span, method: str, answer: Any) -> None:
    """Note where the time of a search went, as its answer tells; of a batch, its slowest."""
    data = answer if isinstance(answer, bytes) else answer.SerializeToString()
    if method == "Search":
        timings = [search_pb2.SearchResponse.FromString(data).timing]
    elif method == "BatchSearch":
        results = search_pb2.BatchSearchResponse.FromString(data).results
        span.set_attribute("twinspire.searches", len(results))
        timings = [result.response.timing for result in results if result.HasField("response")]
    else:
        return
    if timings:
        slowest = max(timings, key=lambda timing: float(timing.total_ms))
        for stage in _STAGES:
            span.set_attribute(f"twinspire.{stage}", getattr(slowest, stage))
