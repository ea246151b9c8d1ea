"""Requests that differ only in their vector are told by their bytes, and answered as any others are."""

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from protos.twinspire.v1 import content_pb2, search_pb2
from server.translation.queries import plan_from
from server.translation.shapes import MAX_SHAPES, Shapes
from tests.server.running import TIMEOUT_S, Failure, Running
from tests.server.workspaces import COLLECTION, direction

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]
WORDS = ["north", "east", "south", "west", "up", "down"]


def dense(vector: Any, *, values: bool = False) -> content_pb2.DenseVector:
    if values:
        return content_pb2.DenseVector(values=vector)
    return content_pb2.DenseVector(f32le=np.asarray(vector, "<f4").tobytes())


def request(vector: Any, *, values: bool = False, **fields: Any) -> search_pb2.SearchRequest:
    query = search_pb2.Query(vector=dense(vector, values=values))
    return search_pb2.SearchRequest(collection=COLLECTION, query=query, **{"limit": 2} | fields)


def learned(*requests: search_pb2.SearchRequest) -> Shapes:
    shapes = Shapes()
    for known in requests:
        shapes.learn(known.SerializeToString(), plan_from(known))
    return shapes


def test_another_vector_has_the_same_shape() -> None:
    told = learned(request([1, 2, 3])).read(request([4, 5, 6]).SerializeToString())

    assert told is not None
    assert told[0].plan.alike is not None
    assert told[1].tolist() == [[4, 5, 6]]


@pytest.mark.parametrize("values", [True, False])
def test_both_forms_of_vectors_have_shapes(values: bool) -> None:
    told = learned(request([1, 2], values=values)).read(request([4, 5], values=values).SerializeToString())

    assert told is not None
    assert told[1].tolist() == [[4, 5]]


@pytest.mark.parametrize(
    "other",
    [
        request([4, 5, 6], limit=3),
        request([4, 5, 6], index_version="v"),
        request([4, 5]),
        request([4, 5, 6], values=True),
        search_pb2.SearchRequest(collection="another", query=search_pb2.Query(vector=dense([1, 2, 3]))),
    ],
)
def test_what_differs_in_more_than_the_vector_has_another_shape(other: search_pb2.SearchRequest) -> None:
    assert learned(request([1, 2, 3])).read(other.SerializeToString()) is None


@pytest.mark.parametrize("bad", [[0, 0], [np.nan, 1], [np.inf, 1], [1e30, 1e30], [1e-30, 0]])
def test_odd_vectors_need_a_closer_look(bad: list[float]) -> None:
    shapes = learned(request([1, 2]))

    assert shapes.read(request(bad).SerializeToString()) is None
    batch = search_pb2.BatchSearchRequest(requests=[request([1, 2]), request(bad)])
    assert shapes.read_batch(batch.SerializeToString()) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"with_vector": True},
        {"explain": True},
        {"score_threshold": 0.5},
        {"moments": 2},
        {"diversity": search_pb2.Diversity()},
        {"params": search_pb2.SearchParams(oversampling=2)},
        {"params": search_pb2.SearchParams(allow_partial=True)},
    ],
)
def test_what_asks_for_more_is_not_learned(fields: dict[str, Any]) -> None:
    asked = request([1, 2], **fields)

    assert learned(asked).read(asked.SerializeToString()) is None


def test_a_batch_of_one_shape_is_read_at_once() -> None:
    batch = search_pb2.BatchSearchRequest(requests=[request([number, 1]) for number in range(5)])

    told = learned(request([1, 2])).read_batch(batch.SerializeToString())

    assert told is not None
    assert told[1].tolist() == [[number, 1] for number in range(5)]


@pytest.mark.parametrize("odd", [request([1, 2], limit=3), request([1, 2, 3]), search_pb2.SearchRequest()])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_with_an_odd_one_needs_a_closer_look(odd: search_pb2.SearchRequest, place: int) -> None:
    requests = [request([1, 2]), request([3, 4])]
    requests.insert(place, odd)
    batch = search_pb2.BatchSearchRequest(requests=requests)

    assert learned(request([1, 2])).read_batch(batch.SerializeToString()) is None


def test_only_so_many_shapes_are_kept() -> None:
    shapes = learned(*(request([1, 2], index_version=f"{number:05}") for number in range(MAX_SHAPES + 1)))

    assert shapes.read(request([1, 2], index_version="00000").SerializeToString()) is None
    assert shapes.read(request([1, 2], index_version=f"{MAX_SHAPES:05}").SerializeToString()) is not None


def test_the_second_of_a_shape_is_answered_like_the_first(running: Running) -> None:
    first, second = (
        {word: running.search.Search(request(direction(word)), timeout=TIMEOUT_S) for word in WORDS}
        for _ in range(2)
    )

    for word in WORDS:
        assert first[word].hits == second[word].hits
        assert first[word].hits[0].id == word
        assert second[word].timing.total_ms > 0


def test_batches_answer_each_of_their_searches(running: Running) -> None:
    batch = search_pb2.BatchSearchRequest(requests=[request(direction(word)) for word in WORDS * 10])

    for _ in range(3):
        answer = running.search.BatchSearch(batch, timeout=TIMEOUT_S)
        assert [result.response.hits[0].id for result in answer.results] == WORDS * 10


def test_a_zero_vector_among_many_fails_alone(running: Running) -> None:
    requests = [request(direction(word)) for word in WORDS]
    running.search.BatchSearch(search_pb2.BatchSearchRequest(requests=requests), timeout=TIMEOUT_S)
    requests[2] = request(np.zeros(len(direction("north"))))

    answer = running.search.BatchSearch(search_pb2.BatchSearchRequest(requests=requests), timeout=TIMEOUT_S)

    assert [result.WhichOneof("outcome") for result in answer.results].index("error") == 2
    assert [result.response.hits[0].id for result in answer.results if result.response.hits] == [
        *WORDS[:2],
        *WORDS[3:],
    ]


def test_a_version_that_is_gone_is_told_to_each_search(running: Running) -> None:
    version = running.find("north").index_version
    batch = search_pb2.BatchSearchRequest(
        requests=[request(direction(word), index_version=version) for word in WORDS]
    )
    running.search.BatchSearch(batch, timeout=TIMEOUT_S)
    running.run(_forget(running))

    answer = running.search.BatchSearch(batch, timeout=TIMEOUT_S)

    assert {result.error.code for result in answer.results} == {StatusCode.UNAVAILABLE.value[0]}


async def _forget(running: Running) -> None:
    """Let a server lose what is live."""
    running.server.live.served.clear()
    running.server.live._faults.clear()

    async def gone(_collection: str, _version: str) -> None:
        from retrieval.errors import BackendUnavailable

        raise BackendUnavailable("gone")

    running.server.live._find_named = gone  # type: ignore[method-assign,assignment]


def test_a_known_shape_is_refused_by_an_index_of_another_width(running: Running, fails: Fails) -> None:
    failure = fails(lambda: running.search.Search(request([1.0, 2.0, 3.0]), timeout=TIMEOUT_S))
    again = fails(lambda: running.search.Search(request([1.0, 2.0, 3.0]), timeout=TIMEOUT_S))

    assert failure.reason == again.reason == "DIMENSION_MISMATCH"


def test_large_batches_are_refused_whatever_their_shape(running: Running, fails: Fails) -> None:
    few = search_pb2.BatchSearchRequest(requests=[request(direction("north"))] * 2)
    running.search.BatchSearch(few, timeout=TIMEOUT_S)
    many = search_pb2.BatchSearchRequest(requests=[request(direction("north"))] * 257)

    failure = fails(lambda: running.search.BatchSearch(many, timeout=TIMEOUT_S))

    assert failure.code == StatusCode.INVALID_ARGUMENT


def test_bytes_that_only_begin_like_a_batch_are_malformed(running: Running) -> None:
    few = search_pb2.BatchSearchRequest(requests=[request(direction("north"))] * 2)
    running.search.BatchSearch(few, timeout=TIMEOUT_S)

    whole = few.SerializeToString()
    for cut in (b"\x0a", b"\x0a\x80", b"\x0a" + b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", whole[:-1]):
        with pytest.raises(grpc.RpcError) as caught:
            running.raw("SearchService/BatchSearch", cut)
        assert caught.value.code() == StatusCode.INVALID_ARGUMENT
