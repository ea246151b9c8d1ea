"""Traces, sent to a collector that is a real gRPC server."""

import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from protos.twinspire.v1 import content_pb2, items_pb2, search_pb2, search_pb2_grpc
from retrieval.workspace import Workspace
from server.app import Server
from tests.server.running import Failure, Running, failure_of, run_server
from tests.server.workspaces import COLLECTION, DIMS

ROOT = Path(__file__).parents[2]
SECRET = "north my password is swordfish"


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans."""

    spans: queue.Queue[Any] = field(default_factory=queue.Queue)
    services: set[str] = field(default_factory=set)

    def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802
        for resource in request.resource_spans:
            names = {it.key: it.value.string_value for it in resource.resource.attributes}
            self.services.add(names["service.name"])
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.put(span)
        return trace_service_pb2.ExportTraceServiceResponse()

    def next(self) -> Any:
        return self.spans.get(timeout=5)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    yield collector
    server.stop(0).wait()


@pytest.fixture
def traced(source: Workspace, collector: Collector) -> Iterator[Running]:
    yield from run_server(source, traces=True, max_queued_searches=1)


def told(span: Any) -> dict[str, Any]:
    return {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in span.attributes}


def test_a_search_is_one_span_with_its_stages(traced: Running, collector: Collector) -> None:
    timing = traced.find("north").timing

    span = collector.next()
    attributes = told(span)
    assert span.name == "twinspire.v1.SearchService/Search"
    assert attributes["rpc.grpc.status_code"] == 0
    for stage in ("queue_ms", "encode_ms", "search_ms", "fetch_ms", "total_ms", "batch_size"):
        assert attributes[f"twinspire.{stage}"] == getattr(timing, stage)
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert collector.spans.empty()


def test_a_batch_is_one_span(traced: Running, collector: Collector) -> None:
    single = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text="north"))

    traced.search.BatchSearch(search_pb2.BatchSearchRequest(requests=[single] * 3), timeout=20)

    attributes = told(collector.next())
    assert attributes["twinspire.searches"] == 3
    assert attributes["twinspire.search_ms"] > 0
    assert collector.spans.empty()


def test_a_stream_is_one_span(traced: Running, collector: Collector) -> None:
    traced.upsert(items_pb2.Item(id="new", text="north"))

    assert collector.next().name == "twinspire.v1.ItemService/UpsertItems"


def test_a_span_goes_on_with_the_callers_trace(traced: Running, collector: Collector) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    request = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text="north"))

    traced.search.Search(request, timeout=20, metadata=(("traceparent", f"00-{trace}-{parent}-01"),))

    span = collector.next()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)


def test_the_service_has_a_name(traced: Running, collector: Collector) -> None:
    traced.find("north")
    collector.next()

    assert collector.services == {"twinspire"}


def search(**fields: Any) -> Callable[[Running], Any]:
    return lambda running: running.find(**fields)


def batch_too_long(running: Running) -> Any:
    single = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text=SECRET))
    return running.search.BatchSearch(search_pb2.BatchSearchRequest(requests=[single] * 300), timeout=20)


def expired(running: Running) -> Any:
    request = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text=SECRET))
    return running.search.Search(request, timeout=-1.0)


def overloaded(running: Running) -> Any:
    calls = [running.search.Search.future(request(), timeout=20) for _ in range(200)]
    for call in calls:
        call.exception()
    for call in calls:
        call.result()


def request() -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text=SECRET))


nan = content_pb2.DenseVector(values=[float("nan")] * DIMS)
image = search_pb2.Query(image=content_pb2.Media(content=b"x", mime_type="image/png"))
FAULTS: dict[str, tuple[Callable[[Running], Any], str, str]] = {
    "malformed": (
        lambda running: running.raw("SearchService/Search", b"\xff\xff"),
        "INVALID_ARGUMENT",
        "MALFORMED_REQUEST",
    ),
    "limit": (search(text=SECRET, limit=5000), "INVALID_ARGUMENT", "INVALID_LIMIT"),
    "nan": (search(query=search_pb2.Query(vector=nan)), "INVALID_ARGUMENT", "NON_FINITE_VECTOR"),
    "batch": (batch_too_long, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    "collection": (search(text=SECRET, collection="no"), "NOT_FOUND", "COLLECTION_NOT_FOUND"),
    "fingerprint": (
        search(text=SECRET, expected_encoder_fingerprint="0"),
        "FAILED_PRECONDITION",
        "ENCODER_INDEX_MISMATCH",
    ),
    "modality": (search(query=image), "FAILED_PRECONDITION", "MODALITY_NOT_SERVED"),
    "overload": (overloaded, "RESOURCE_EXHAUSTED", "OVERLOADED"),
}


def outcome(running: Running, fault: Callable[[Running], Any]) -> Failure:
    with pytest.raises(grpc.RpcError) as caught:
        fault(running)
    return failure_of(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_status_is_what_it_is_without_traces(traced: Running, collector: Collector, fault: str) -> None:
    work, code, reason = FAULTS[fault]

    failure = outcome(traced, work)

    assert (failure.code.name, failure.reason) == (code, reason)
    codes = set()
    while True:
        span = collector.next()
        codes.add((told(span)["rpc.grpc.status_code"], told(span).get("twinspire.reason")))
        if (grpc.StatusCode[code].value[0], reason) in codes:
            break


def test_a_stopping_server_is_unavailable(traced: Running, collector: Collector) -> None:
    traced.server.gate.closing.set()

    failure = outcome(traced, search(text=SECRET))

    assert failure.reason == "SHUTTING_DOWN"
    span = collector.next()
    assert (told(span)["rpc.grpc.status_code"], span.status.code) == (14, 2)


def test_a_deadline_is_exceeded(traced: Running) -> None:
    assert outcome(traced, expired).code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_unknown_method_is_unimplemented(traced: Running) -> None:
    failure = outcome(traced, lambda running: running.raw("SearchService/Nothing", b""))

    assert failure.code is grpc.StatusCode.UNIMPLEMENTED


def test_a_span_holds_no_text_and_no_id(traced: Running, collector: Collector) -> None:
    traced.find(SECRET)
    traced.upsert(items_pb2.Item(id="swordfish", text=SECRET))
    outcome(traced, search(text=SECRET, limit=5000))

    spans = [collector.next() for _ in range(3)]

    assert not any(b"swordfish" in span.SerializeToString() for span in spans)


def test_a_collector_that_is_not_there_does_not_matter(
    source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    for running in run_server(source, traces=True):
        assert running.ids("north")[0] == "north"


def test_without_traces_no_handler_is_wrapped(shared: Running) -> None:
    assert server_handlers(shared.server) == {"server.calls"}


def test_with_traces_each_handler_of_ours_is_wrapped(traced: Running) -> None:
    assert "server.tracing" in server_handlers(traced.server)


@pytest.fixture
def shared(source: Workspace) -> Iterator[Running]:
    yield from run_server(source)


def server_handlers(server: Server) -> set[str]:
    """Name the modules of what answers Search."""
    details = type("Details", (), {"method": "/twinspire.v1.SearchService/Search"})
    found: Any = [it.service(details) for it in server.handlers]  # type: ignore[arg-type]
    (first, *_) = [it for it in found if it is not None]
    return {first.unary_unary.__module__}


def test_a_server_starts_without_opentelemetry() -> None:
    program = "import sys, server.app; sys.exit(any('opentelemetry' in name for name in sys.modules))"

    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_without_the_extra_traces_are_refused_with_advice() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from retrieval.errors import MissingExtra\n"
        "try:\n    import server.tracing\n"
        "except MissingExtra as error:\n    sys.exit(str(error))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert "pip install 'twinspire[otel]'" in done.stderr


@pytest.mark.slow
def test_every_worker_sends_its_spans(source: Workspace, collector: Collector) -> None:
    command = [sys.executable, "-m", "twinspire", "--workspace", str(source.root), "serve"]
    options = ["--port", "0", "--workers", "2", "--traces"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        target = process.stdout.readline().strip().rpartition(" ")[2]
        alone = [("grpc.use_local_subchannel_pool", 1)]  # each channel a connection, for any of the workers
        request = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text="north"))
        prefixes = set()
        for _ in range(12):
            with grpc.insecure_channel(target, options=alone) as channel:
                answer = search_pb2_grpc.SearchServiceStub(channel).Search(request, timeout=20)
                prefixes.add(answer.search_id.partition("-")[0])
        process.terminate()

    names = [collector.next().name for _ in range(12)]
    assert names == ["twinspire.v1.SearchService/Search"] * 12
    assert len(prefixes) == 2
