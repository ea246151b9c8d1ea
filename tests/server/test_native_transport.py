"""The server behind pygrpc-native (extra `native`): what differs from grpcio. All else is the same tests."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.twinspire.v1 import content_pb2, items_pb2, search_pb2
from retrieval.errors import InvalidInput
from server.config import ServerConfig
from tests.server.running import TIMEOUT_S, Failure, Running, run_server
from tests.server.workspaces import COLLECTION, direction, make_workspace

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]


def vector(word: str = "north", **fields: Any) -> search_pb2.SearchRequest:
    dense = content_pb2.DenseVector(f32le=direction(word).astype("<f4").tobytes())
    return search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(vector=dense), **fields)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("pygrpc_native")
    with make_workspace(tmp_path_factory.mktemp("native") / "workspace") as ws:
        yield from run_server(ws, transport="native")


@pytest.mark.parametrize(
    "settings", [{"host": "0.0.0.0", "insecure": True}, {"tls_cert": "c", "tls_key": "k"}]
)
def test_it_serves_loopback_in_clear_and_nothing_else(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="loopback only"):
        ServerConfig(workspace=Path(), transport="native", **settings)


def test_an_unknown_transport_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected grpcio or native"):
        ServerConfig(workspace=Path(), transport="carrier pigeon")


def test_single_and_batched_searches_are_answered(native: Running) -> None:
    words = ["north", "east", "south"] * 8
    batch = search_pb2.BatchSearchRequest(requests=[vector(word, limit=1) for word in words])

    for _ in range(3):  # the first of a shape is parsed, the others take the short way
        single = [native.search.Search(vector(word, limit=1), timeout=TIMEOUT_S).hits[0].id for word in words]
        results = native.search.BatchSearch(batch, timeout=TIMEOUT_S).results
        assert single == [result.response.hits[0].id for result in results] == words


def test_errors_carry_their_details(native: Running, fails: Fails) -> None:
    failure = fails(lambda: native.search.Search(vector(limit=0), timeout=TIMEOUT_S))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_LIMIT")


def test_what_the_library_does_not_do_is_done_behind_it(native: Running) -> None:
    native.upsert(items_pb2.Item(id="streamed", text="north"))  # a stream of requests
    reflection = reflection_pb2_grpc.ServerReflectionStub(native.channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    watch = health_pb2_grpc.HealthStub(native.channel).Watch(
        health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S
    )

    assert "streamed" in native.ids("north")
    assert next(reflection.ServerReflectionInfo(asked, timeout=TIMEOUT_S)).list_services_response.service
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        native.raw("NoService/NoMethod", b"")
    assert caught.value.code() == StatusCode.UNIMPLEMENTED


def test_a_search_whose_caller_goes_away_gives_its_place_back(native: Running) -> None:
    pipeline = native.server.live.served[COLLECTION].pipeline
    native.search.Search(vector(limit=7), timeout=TIMEOUT_S)  # so that its shape is known
    gate = threading.Event()
    answer_all = pipeline._answerer.answer_all

    def slowly(*work: Any) -> Any:
        gate.wait(TIMEOUT_S)
        return answer_all(*work)

    pipeline._answerer.answer_all = slowly  # type: ignore[method-assign,assignment]
    try:
        calls = [native.search.Search.future(vector(limit=7), timeout=TIMEOUT_S) for _ in range(5)]
        until(lambda: pipeline.queued == 5)
        for call in calls:
            call.cancel()
        until(lambda: pipeline.queued == 0)
        until(lambda: native.server.gate.in_flight == 0)
    finally:
        gate.set()
        pipeline._answerer.answer_all = answer_all  # type: ignore[method-assign]
    assert native.search.Search(vector(limit=7), timeout=TIMEOUT_S).hits


def test_a_port_that_is_taken_is_told(native: Running, tmp_path: Path) -> None:
    with make_workspace(tmp_path / "workspace") as ws, pytest.raises(Exception, match="another server"):
        next(run_server(ws, transport="native", port=native.server.port))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
