from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.twinspire.v1 import collections_pb2, items_pb2
from retrieval.collections import create_collection
from retrieval.item_writes import upsert_items
from retrieval.publishing import promote
from retrieval.workspace import Workspace
from tests.server.running import TIMEOUT_S, Failure, Running
from tests.server.workspaces import COLLECTION, build_version, sample_items, write_encoder

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(running: Running, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(running.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S).status)


@pytest.fixture
def unindexed(tmp_path: Path, start_server: Callable[..., Running]) -> Iterator[Running]:
    with Workspace(tmp_path / "unindexed", create=True) as ws:
        create_collection(ws, COLLECTION)
        upsert_items(ws, COLLECTION, sample_items())
        yield start_server(ws)


@pytest.mark.parametrize("service", ["", "twinspire.v1.SearchService"])
def test_a_warm_server_is_serving(shared: Running, service: str) -> None:
    assert health(shared, service) == SERVING


def test_an_unknown_service_is_not_found(shared: Running, fails: Fails) -> None:
    assert fails(lambda: health(shared, "twinspire.v1.Nothing")).code == StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["", "twinspire.v1.SearchService"])
def test_a_server_without_an_index_is_not_serving(unindexed: Running, service: str) -> None:
    assert health(unindexed, service) == NOT_SERVING


def test_a_search_without_an_index_is_unavailable(unindexed: Running, fails: Fails) -> None:
    failure = fails(lambda: unindexed.find("north"))

    assert (failure.code, failure.reason) == (StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")


def test_items_are_written_and_read_without_an_index(unindexed: Running) -> None:
    unindexed.upsert(items_pb2.Item(id="fresh", text="far"))

    answer = unindexed.items.GetItems(
        items_pb2.GetItemsRequest(collection=COLLECTION, ids=["fresh"]), timeout=TIMEOUT_S
    )
    assert answer.items[0].text == "far"


def test_encoding_without_a_live_encoder_is_a_failed_precondition(unindexed: Running, fails: Fails) -> None:
    from protos.twinspire.v1 import encoders_pb2

    request = encoders_pb2.EncodeRequest(
        collection=COLLECTION, inputs=[encoders_pb2.EncodeInput(text="north")]
    )

    failure = fails(lambda: unindexed.encoders.Encode(request, timeout=TIMEOUT_S))

    assert (failure.code, failure.reason) == (StatusCode.FAILED_PRECONDITION, "MODEL_NOT_LOADED")


def test_a_watcher_is_told_when_the_first_index_goes_live(unindexed: Running) -> None:
    stub = health_pb2_grpc.HealthStub(unindexed.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert next(watch).status == NOT_SERVING

    write_encoder(unindexed.ws)
    promote(unindexed.ws, COLLECTION, build_version(unindexed.ws))

    assert next(watch).status == SERVING
    assert unindexed.ids("north", limit=1) == ["north"]
    watch.cancel()


def test_an_empty_index_is_served_and_finds_nothing(
    tmp_path: Path, start_server: Callable[..., Running]
) -> None:
    with Workspace(tmp_path / "empty", create=True) as ws:
        create_collection(ws, COLLECTION)
        write_encoder(ws)
        promote(ws, COLLECTION, build_version(ws))
        running = start_server(ws)

        assert health(running) == SERVING
        assert running.ids("north") == []


def test_all_services_are_listed(shared: Running) -> None:
    stub = health_pb2_grpc.HealthStub(shared.channel)

    answer = stub.List(health_pb2.HealthListRequest(), timeout=TIMEOUT_S)

    assert answer.statuses["twinspire.v1.SearchService"].status == SERVING


def test_reflection_describes_the_services(shared: Running) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(shared.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")

    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S)

    names = {service.name for service in answer.list_services_response.service}
    assert {"twinspire.v1.SearchService", "twinspire.v1.ItemService", "grpc.health.v1.Health"} <= names


def test_reflection_can_be_switched_off(start_server: Callable[..., Running], fails: Fails) -> None:
    running = start_server(reflection=False)
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")

    failure = fails(lambda: list(stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S)))

    assert failure.code == StatusCode.UNIMPLEMENTED


def test_a_collection_that_is_not_loaded_is_not_ready(unindexed: Running) -> None:
    request = collections_pb2.GetCollectionRequest(collection=COLLECTION)

    collection = unindexed.collections.GetCollection(request, timeout=TIMEOUT_S).collection

    assert (collection.ready, collection.live_version) == (False, "")
    assert collection.unindexed_count == collection.segment_count > 0
