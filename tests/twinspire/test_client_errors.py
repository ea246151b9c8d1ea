"""Errors travel: the class, reason, metadata and field that the server raised reach the caller."""

import asyncio
import time

import grpc
import pytest

from protos.twinspire.v1 import search_pb2
from retrieval import errors as engine_errors
from tests.twinspire.conftest import Script, fault
from twinspire import AsyncClient, Client, RetryPolicy, TwinspireError, errors
from twinspire.faults import error_classes, error_from_status


def leaves(root: type[TwinspireError]) -> set[type[TwinspireError]]:
    ours = [cls for cls in root.__subclasses__() if cls.__module__ == engine_errors.__name__]
    return {root}.union(*map(leaves, ours))


def test_the_public_module_names_every_error_of_the_engine() -> None:
    engine = {name for name, value in vars(engine_errors).items() if isinstance(value, type)}

    assert engine - {"ClassVar"} == set(errors.__all__)


@pytest.mark.parametrize("cls", sorted(leaves(TwinspireError) - {TwinspireError}, key=str))
def test_every_error_class_is_rebuilt_from_its_reason(cls: type[TwinspireError]) -> None:
    status = fault(grpc.StatusCode.INTERNAL, "expected so, got such", reason=cls.reason)

    error = error_from_status(status)

    assert type(error) is cls
    assert str(error) == "expected so, got such"


def test_no_two_error_classes_share_a_reason() -> None:
    assert len(error_classes()) == len(leaves(TwinspireError)) - 1


def test_metadata_and_field_reach_the_caller(client: Client, script: Script) -> None:
    script.search_answers.append(
        fault(
            grpc.StatusCode.INVALID_ARGUMENT,
            "vector: expected 256 dimensions, got 3",
            reason="DIMENSION_MISMATCH",
            metadata={"expected": "256", "got": "3"},
            field_at_fault="query.vector",
        )
    )

    with pytest.raises(errors.DimensionMismatch, match="expected 256 dimensions") as caught:
        client.search("films", vector=[1, 2, 3])

    assert caught.value.metadata == {"expected": "256", "got": "3"}
    assert caught.value.field == "query.vector"
    assert caught.value.reason == "DIMENSION_MISMATCH"


def test_a_reason_of_a_later_server_falls_back_to_its_category() -> None:
    error = error_from_status(fault(grpc.StatusCode.NOT_FOUND, "no such mood", reason="MOOD_NOT_FOUND"))

    assert type(error) is errors.NotFound
    assert error.reason == "MOOD_NOT_FOUND"


def test_nobody_listening_is_unavailable_and_says_what_to_do(impatient: RetryPolicy) -> None:
    with (
        Client("127.0.0.1:1", retries=impatient) as client,
        pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:1 does not answer .*twinspire serve"),
    ):
        client.server_info()


def test_unavailable_is_tried_again(client: Client, script: Script) -> None:
    script.search_answers += [fault(grpc.StatusCode.UNAVAILABLE, "restarting")] * 2

    result = client.search("films", "a heist")

    assert result.hits == ()
    assert len(script.requests) == 3


def test_attempts_end(client: Client, script: Script) -> None:
    script.search_answers += [fault(grpc.StatusCode.UNAVAILABLE, "restarting")] * 9

    with pytest.raises(errors.Unavailable, match="restarting"):
        client.search("films", "a heist")

    assert len(script.requests) == 3


def test_an_overloaded_server_is_given_the_time_it_asks_for(client: Client, script: Script) -> None:
    overloaded = fault(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", reason="OVERLOADED", retry_after_s=0.2
    )
    script.search_answers.append(overloaded)
    started = time.monotonic()

    client.search("films", "a heist")

    assert 0.2 <= time.monotonic() - started < 1.0
    assert len(script.requests) == 2


def test_a_limit_without_a_time_is_not_tried_again(client: Client, script: Script) -> None:
    script.search_answers += [fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "request over 4 MiB")] * 2

    with pytest.raises(errors.Exhausted, match="over 4 MiB"):
        client.search("films", "a heist")

    assert len(script.requests) == 1


def test_an_invalid_request_is_not_tried_again(client: Client, script: Script) -> None:
    script.search_answers.append(fault(grpc.StatusCode.INVALID_ARGUMENT, "blank", reason="EMPTY_QUERY"))

    with pytest.raises(errors.EmptyQuery):
        client.search("films", " ")

    assert len(script.requests) == 1


def test_switching_the_live_version_is_not_tried_again(client: Client, script: Script) -> None:
    with pytest.raises(errors.Unavailable):
        client.set_live_version("films", "000002-ab", expected_version="000001-cd")

    assert len(script.requests) == 1


def test_a_wait_beyond_the_deadline_is_not_begun(client: Client, script: Script) -> None:
    script.search_answers.append(
        fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", reason="OVERLOADED", retry_after_s=60)
    )
    started = time.monotonic()

    with pytest.raises(errors.Overloaded) as caught:
        client.search("films", "a heist", timeout_s=1.0)

    assert caught.value.retry_after_s == 60
    assert time.monotonic() - started < 1.0


def test_a_failed_query_of_a_batch_is_a_value(client: Client, script: Script) -> None:
    script.search_answers.append(
        search_pb2.BatchSearchResponse(
            results=[
                search_pb2.BatchSearchResponse.Result(response=search_pb2.SearchResponse()),
                search_pb2.BatchSearchResponse.Result(
                    error=fault(grpc.StatusCode.INVALID_ARGUMENT, "blank", reason="EMPTY_QUERY")
                ),
            ]
        )
    )

    good, bad = client.batch_search("films", ["a heist", ""])

    assert not isinstance(good, TwinspireError)
    assert isinstance(bad, errors.EmptyQuery)


def test_the_async_client_tries_again_and_raises_the_same_errors(
    scripted_target: str, script: Script, impatient: RetryPolicy
) -> None:
    script.search_answers += [
        fault(grpc.StatusCode.UNAVAILABLE, "restarting"),
        fault(grpc.StatusCode.NOT_FOUND, "there is no collection 'x'", reason="COLLECTION_NOT_FOUND"),
    ]

    async def search() -> None:
        async with AsyncClient(scripted_target, retries=impatient) as client:
            await client.search("x", "a heist")

    with pytest.raises(errors.CollectionNotFound):
        asyncio.run(search())

    assert len(script.requests) == 2


def test_waiting_for_a_server_that_never_comes_ends_in_time() -> None:
    started = time.monotonic()

    with Client("127.0.0.1:1") as client, pytest.raises(errors.DeadlineExceeded, match="not ready within"):
        client.wait_until_ready(timeout_s=0.3)

    assert time.monotonic() - started < 2.0
