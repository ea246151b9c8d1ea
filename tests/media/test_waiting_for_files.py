"""Files that take long to decode: others do not wait for them, and they do not take for ever."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from encoders.media.decoding import Decoder
from encoders.media.specs import ImageSpec
from indexer.indexing import index_collection
from protos.twinspire.v1 import content_pb2, search_pb2
from retrieval.content import Modality
from retrieval.deadlines import work_until
from retrieval.errors import DeadlineExceeded
from retrieval.workspace import Workspace
from server import pipeline
from tests.media.conftest import add, write_tones
from tests.media.files import picture, slow_png
from tests.media.simple_encoders import add_encoder
from tests.server.running import TIMEOUT_S, Running, failure_of, run_server


@pytest.fixture(scope="module")
def slow_picture() -> bytes:
    return slow_png()


@pytest.fixture
def running(ws: Workspace, pictures: Path) -> Iterator[Running]:
    add_encoder(ws, "colour")
    index_collection(ws, "c", "colour")
    yield from run_server(ws)


def by_picture(content: bytes) -> search_pb2.SearchRequest:
    query = search_pb2.Query(image=content_pb2.Media(content=content))
    return search_pb2.SearchRequest(collection="c", query=query, limit=1)


def test_texts_do_not_wait_for_a_slow_picture(running: Running, slow_picture: bytes) -> None:
    running.search.Search(by_picture(picture()), timeout=TIMEOUT_S)  # the processes are there
    slow = running.search.Search.future(by_picture(slow_picture), timeout=TIMEOUT_S)
    time.sleep(0.3)

    for _ in range(3):
        assert running.ids("green", collection="c", limit=1) == ["green.png"]
    assert not slow.done()

    answer = slow.result()
    assert answer.hits[0].id == "red.png"
    assert answer.timing.encode_ms > 300


def test_a_picture_that_takes_too_long_is_given_up(
    running: Running, slow_picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MAX_DECODE_S", 0.3)

    with pytest.raises(grpc.RpcError) as caught:
        running.search.Search(by_picture(slow_picture), timeout=TIMEOUT_S)

    failure = failure_of(caught.value)
    assert failure.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert failure.message == "query.image: decoding took longer than the time that was left"
    assert running.search.Search(by_picture(picture(colour=(0, 0, 255)))).hits[0].id == "blue.png"


def test_what_nobody_waits_for_any_more_is_not_decoded(slow_picture: bytes) -> None:
    with Decoder(max_children=1) as decoder:
        (_,) = decoder.decode([(picture(), ImageSpec(height=8, width=8), None)])
        started = time.perf_counter()
        with work_until(started + 0.2):
            outcomes = decoder.decode([(slow_picture, ImageSpec(height=8, width=8), None)] * 5)
        took_s = time.perf_counter() - started

        assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 5
        assert took_s < 1.0
        (after,) = decoder.decode([(picture(), ImageSpec(height=8, width=8), None)])
        assert isinstance(after, np.ndarray)


def test_many_sounds_that_wait_are_all_answered_whatever_room_there_is(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tones(folder / "high.wav", 3000)
    add(ws, Modality.AUDIO, "high.wav")
    add_encoder(ws, "pitch")
    index_collection(ws, "c", "pitch")
    monkeypatch.setattr(pipeline, "MAX_DECODED_BYTES", 1)
    query = search_pb2.Query(audio=content_pb2.Media(content=(folder / "high.wav").read_bytes()))
    request = search_pb2.SearchRequest(collection="c", query=query, limit=1)

    for running in run_server(ws):
        calls = [running.search.Search.future(request, timeout=TIMEOUT_S) for _ in range(40)]
        for call in calls[::4]:
            call.cancel()
        answers = [call.result() for call in calls if not call.cancelled()]

    assert {answer.hits[0].id for answer in answers} == {"high.wav"}
    assert len(answers) >= 30
