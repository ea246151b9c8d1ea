import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from protos.twinspire.v1 import content_pb2, search_pb2
from server.jobs import Job, Stage
from server.pipeline import Pipeline
from tests.server.running import TIMEOUT_S, Failure, Running, failure_of
from tests.server.slow_encoders import Gated
from tests.server.workspaces import COLLECTION, direction

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]


def text(words: str = "north") -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text=words), limit=1)


def vector(word: str = "north") -> search_pb2.SearchRequest:
    dense = content_pb2.DenseVector(f32le=direction(word).tobytes())
    return search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(vector=dense), limit=1)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def pipeline_of(running: Running) -> Pipeline:
    return running.server.live.served[COLLECTION].pipeline


@pytest.fixture
def gated() -> Gated:
    return Gated()


@pytest.fixture
def stuck(start_server: Callable[..., Running], gated: Gated) -> Any:
    """A server whose encoder waits, with one search inside it; the gate opens at the end."""
    running = start_server(load_encoder=gated, max_queued_searches=8)
    assert gated.encoder is not None
    gated.encoder.gate.clear()
    first = running.search.Search.future(text(), timeout=TIMEOUT_S)
    assert gated.encoder.busy.wait(TIMEOUT_S)
    yield running
    gated.encoder.gate.set()
    assert first.result().hits[0].id == "north"


def test_what_waits_is_answered_in_one_batch(stuck: Running, gated: Gated) -> None:
    assert gated.encoder is not None
    calls = [stuck.search.Search.future(text(), timeout=TIMEOUT_S) for _ in range(5)]
    until(lambda: pipeline_of(stuck).queued == 6)

    gated.encoder.gate.set()

    assert {call.result().timing.batch_size for call in calls} == {5}


@pytest.mark.parametrize(("explain", "sizes"), [(False, [256, 64]), (True, [64, 16])])
def test_a_batch_holds_more_searches_if_they_are_alike(
    start_server: Callable[..., Running], gated: Gated, explain: bool, sizes: list[int]
) -> None:
    running = start_server(load_encoder=gated, search_threads=1)
    assert gated.encoder is not None
    gated.encoder.gate.clear()
    first = running.search.Search.future(text(), timeout=TIMEOUT_S)
    assert gated.encoder.busy.wait(TIMEOUT_S)
    one = text()
    one.explain = explain
    request = search_pb2.BatchSearchRequest(requests=[one] * sizes[-1])
    calls = [running.search.BatchSearch.future(request, timeout=TIMEOUT_S) for _ in range(5)]
    until(lambda: pipeline_of(running).queued == 1 + sum(sizes))

    gated.encoder.gate.set()

    first.result()
    found = [result.response.timing.batch_size for call in calls for result in call.result().results]
    assert sorted(found, reverse=True) == [size for size in sizes for _ in range(size)]


def test_threads_of_a_stage_share_what_waits() -> None:
    opened, taken = threading.Event(), list[int]()

    def work(jobs: list[Job]) -> None:
        taken.append(len(jobs))
        assert opened.wait(TIMEOUT_S)

    stage = Stage("test", work, max_batch=100, threads=2)
    loop = asyncio.new_event_loop()
    for _ in range(2):
        stage.put(Job([], loop, None))
    until(lambda: taken == [1, 1])  # both threads are busy
    for _ in range(8):
        stage.put(Job([], loop, None))
    opened.set()
    until(lambda: sum(taken) == 10)
    stage.stop()
    loop.close()

    assert max(taken) == 4


def test_a_full_queue_exhausts_a_resource_and_tells_when_to_retry(stuck: Running, fails: Fails) -> None:
    calls = [stuck.search.Search.future(text(), timeout=TIMEOUT_S) for _ in range(7)]
    until(lambda: pipeline_of(stuck).queued == 8)

    failure = fails(lambda: stuck.search.Search(text(), timeout=TIMEOUT_S))

    assert (failure.code, failure.reason) == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert failure.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    for call in calls:
        call.cancel()


def test_a_deadline_that_passes_in_the_queue_is_dropped_before_encoding(stuck: Running, gated: Gated) -> None:
    assert gated.encoder is not None
    before = len(gated.encoder.batches)

    with pytest.raises(grpc.RpcError) as caught:
        stuck.search.Search(text(), timeout=0.05)
    until(lambda: pipeline_of(stuck).queued == 1)  # by the server's clock, it has passed as well
    gated.encoder.gate.set()
    until(lambda: pipeline_of(stuck).queued == 0)

    assert caught.value.code() == StatusCode.DEADLINE_EXCEEDED
    assert sum(gated.encoder.batches[before:]) == 1


def test_a_cancelled_call_frees_its_slot(stuck: Running) -> None:
    calls = [stuck.search.Search.future(text(), timeout=TIMEOUT_S) for _ in range(7)]
    until(lambda: pipeline_of(stuck).queued == 8)

    for call in calls:
        call.cancel()

    until(lambda: pipeline_of(stuck).queued == 1)
    until(lambda: stuck.metric("twinspire_searches_dropped_total", cause="cancelled") == 7)


def test_one_query_that_the_encoder_cannot_read_fails_alone(stuck: Running, gated: Gated) -> None:
    assert gated.encoder is not None
    good = [stuck.search.Search.future(text(), timeout=TIMEOUT_S) for _ in range(3)]
    bad = stuck.search.Search.future(text("poison"), timeout=TIMEOUT_S)
    until(lambda: pipeline_of(stuck).queued == 5)

    gated.encoder.gate.set()

    assert [call.result().hits[0].id for call in good] == ["north"] * 3
    error = bad.exception()
    assert isinstance(error, grpc.RpcError)
    assert failure_of(error).reason == "ENCODER_FAULT"


def test_vectors_do_not_wait_for_a_heavy_encoder(
    start_server: Callable[..., Running], gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.pipeline.HEAVY_ENCODE_S", 0.0)
    running = start_server(load_encoder=gated)
    assert gated.encoder is not None
    gated.encoder.gate.clear()
    stuck = running.search.Search.future(text(), timeout=TIMEOUT_S)
    assert gated.encoder.busy.wait(TIMEOUT_S)

    answer = running.search.Search(vector(), timeout=TIMEOUT_S)

    assert answer.hits[0].id == "north"
    gated.encoder.gate.set()
    assert stuck.result().hits[0].id == "north"


def test_texts_for_a_heavy_encoder_leave_room_to_vectors(
    start_server: Callable[..., Running], gated: Gated, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    monkeypatch.setattr("server.pipeline.HEAVY_ENCODE_S", 0.0)
    running = start_server(load_encoder=gated, max_queued_searches=8)
    assert gated.encoder is not None
    gated.encoder.gate.clear()
    calls = [running.search.Search.future(text(), timeout=TIMEOUT_S) for _ in range(4)]
    until(lambda: pipeline_of(running).queued == 4)

    assert fails(lambda: running.search.Search(text(), timeout=TIMEOUT_S)).reason == "OVERLOADED"
    assert running.search.Search(vector(), timeout=TIMEOUT_S).hits[0].id == "north"
    gated.encoder.gate.set()
    assert len([call.result() for call in calls]) == 4


def test_many_clients_get_the_answers_to_their_own_questions(running: Running) -> None:
    words = ["north", "east", "south", "west", "up", "down"] * 50

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda word: running.ids(word, limit=1), words))

    assert answers == [[word] for word in words]


def test_an_unforeseen_error_is_internal_and_opaque(
    running: Running, fails: Fails, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("secret of /var/lib")

    monkeypatch.setattr(running.server.live.served[COLLECTION].answerer, "check", explode)

    failure = fails(lambda: running.find("north"))

    assert (failure.code, failure.reason) == (StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in failure.message
    error_id = failure.detail(error_details_pb2.ErrorInfo).metadata["error_id"]
    assert any(getattr(record, "fields", {}).get("error_id") == error_id for record in caplog.records)
