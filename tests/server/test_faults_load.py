"""More calls than there is room for, and encoders that run out of memory."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from encoders.encoder import Encoder
from encoders.loading import load_encoder
from protos.twinspire.v1 import encoders_pb2, items_pb2, search_pb2
from retrieval.content import Content
from tests.server.running import TIMEOUT_S, Failure, Running, unpack
from tests.server.slow_encoders import Gated, GatedEncoder
from tests.server.test_pipeline import text, until
from tests.server.workspaces import COLLECTION, WORDS

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]


def test_over_the_concurrency_limit_a_resource_is_exhausted(
    start_server: Callable[..., Running], fails: Fails
) -> None:
    gated = Gated()
    running = start_server(load_encoder=gated, max_concurrent_calls=4)
    assert gated.encoder is not None
    gated.encoder.gate.clear()
    calls = [running.search.Search.future(text(), timeout=TIMEOUT_S) for _ in range(4)]
    until(lambda: running.server.gate.in_flight == 4)

    failure = fails(lambda: running.find("north"))

    assert (failure.code, failure.reason) == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert failure.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    assert running.metric("twinspire_errors_total", reason="OVERLOADED") == 1
    gated.encoder.gate.set()
    assert [call.result().hits[0].id for call in calls] == ["north"] * 4
    assert running.ids("north", limit=1) == ["north"]


def test_streams_that_stay_open_have_a_limit_too(start_server: Callable[..., Running], fails: Fails) -> None:
    running = start_server(max_concurrent_calls=3)
    done = Event()

    def idle() -> Iterator[items_pb2.UpsertItemsRequest]:
        yield items_pb2.UpsertItemsRequest(collection=COLLECTION, items=[items_pb2.Item(id="a", text="far")])
        done.wait(TIMEOUT_S)

    upsert = running.items.UpsertItems(idle(), timeout=TIMEOUT_S)
    assert next(upsert).sequence
    watch = health_pb2_grpc.HealthStub(running.channel).Watch
    watches = [watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S) for _ in range(2)]
    for each in watches:
        next(each)

    failure = fails(lambda: next(watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)))

    assert (failure.code, failure.reason) == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert running.ids("north", limit=1) == ["north"]
    for each in watches:
        each.cancel()
    done.set()
    upsert.cancel()
    until(lambda: running.server.gate.streams == 0)


class Hungry(GatedEncoder):
    """Runs out of memory with more than so many contents, or with a certain word."""

    def __init__(self, encoder: Encoder, room: int) -> None:
        super().__init__(encoder)
        self.room = room
        self.tried: list[int] = []

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        self._need_memory(contents)
        return super().encode_queries(contents)

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        self._need_memory(contents)
        return super().encode_items(contents)

    def _need_memory(self, contents: Sequence[Content]) -> None:
        self.tried.append(len(contents))
        if len(contents) > self.room or any("huge" in content.text for content in contents):
            raise MemoryError


class LoadHungry:
    """Loads encoders that are hungry, and keeps hold of the last."""

    encoder: Hungry

    def __call__(self, folder: Path) -> Encoder:
        self.encoder = Hungry(load_encoder(folder), room=3)
        return self.encoder


@pytest.fixture
def hungry() -> LoadHungry:
    return LoadHungry()


@pytest.fixture
def running_short(start_server: Callable[..., Running], hungry: LoadHungry) -> Running:
    """A server whose encoder has memory for three contents at a time."""
    return start_server(load_encoder=hungry, search_threads=1)


def batch(*texts: str) -> search_pb2.BatchSearchRequest:
    return search_pb2.BatchSearchRequest(requests=[text(each) for each in texts])


def test_a_batch_that_does_not_fit_into_the_memory_is_halved(
    running_short: Running, hungry: LoadHungry
) -> None:
    hungry.encoder.tried.clear()

    answer = running_short.search.BatchSearch(batch(*WORDS), timeout=TIMEOUT_S)

    assert [result.response.hits[0].id for result in answer.results] == WORDS
    assert hungry.encoder.tried == [12, 6, 3, 3, 6, 3, 3]


def test_a_query_that_does_not_fit_into_the_memory_alone_exhausts_a_resource(
    running_short: Running, fails: Fails
) -> None:
    failure = fails(lambda: running_short.find("huge"))

    assert (failure.code, failure.reason) == (StatusCode.RESOURCE_EXHAUSTED, "ENCODER_OUT_OF_MEMORY")
    assert failure.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    assert running_short.ids("north", limit=1) == ["north"]


def test_one_query_that_does_not_fit_fails_alone(running_short: Running) -> None:
    answer = running_short.search.BatchSearch(batch("north", "huge", "east"), timeout=TIMEOUT_S)

    kinds = [result.WhichOneof("outcome") for result in answer.results]
    assert kinds == ["response", "error", "response"]
    (info, *_) = unpack(answer.results[1].error)
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.reason == "ENCODER_OUT_OF_MEMORY"


def test_items_and_encodings_are_halved_as_well(running_short: Running, fails: Fails) -> None:
    running_short.upsert(*(items_pb2.Item(id=f"far{n}", text="far") for n in range(10)))
    assert len(running_short.ids("far", limit=11)) == 11

    request = encoders_pb2.EncodeRequest(
        collection=COLLECTION, inputs=[encoders_pb2.EncodeInput(text=word) for word in WORDS]
    )
    assert len(running_short.encoders.Encode(request, timeout=TIMEOUT_S).vectors) == len(WORDS)
    request.inputs.add(text="huge")
    failure = fails(lambda: running_short.encoders.Encode(request, timeout=TIMEOUT_S))
    assert failure.reason == "ENCODER_OUT_OF_MEMORY"


def test_an_item_that_does_not_fit_is_not_acknowledged(running_short: Running, fails: Fails) -> None:
    failure = fails(lambda: running_short.upsert(items_pb2.Item(id="huge", text="huge")))

    assert failure.reason == "ENCODER_OUT_OF_MEMORY"
    running_short.upsert(items_pb2.Item(id="small", text="far"))
    assert running_short.ids("far", limit=2) == ["far", "small"]
