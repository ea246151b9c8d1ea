"""Streaming many items: cutting, progress, resuming after a break, flat memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from tests.twinspire.conftest import Script, fault
from twinspire import AsyncClient, Client, Item, RetryPolicy, UpsertReport, errors


def items(count: int) -> Iterator[Item]:
    return (Item(f"item-{number:05}", text=f"text {number}") for number in range(count))


def test_a_generator_is_cut_by_count(client: Client, script: Script) -> None:
    report = client.upsert_many("films", items(25), max_items=10)

    assert script.upsert_sizes == [10, 10, 5]
    assert (report.acknowledged, report.inserted) == (25, 25)


def test_requests_are_cut_by_bytes(client: Client, script: Script) -> None:
    large = (Item(str(number), text="x" * 400) for number in range(5))

    client.upsert_many("films", large, max_bytes=1000)

    assert script.upsert_sizes == [2, 2, 1]


def test_an_item_larger_than_a_request_goes_alone(client: Client, script: Script) -> None:
    client.upsert_many("films", [Item("a", "x"), Item("b", "x" * 5000), Item("c", "x")], max_bytes=100)

    assert script.upsert_sizes == [1, 1, 1]


def test_no_items_are_no_request(client: Client, script: Script) -> None:
    report = client.upsert_many("films", [])

    assert report == UpsertReport()
    assert script.upsert_sizes == []


def test_mappings_are_items_too(client: Client, script: Script) -> None:
    client.upsert_many("films", [{"id": "a", "text": "x", "attributes": {"year": 1990}}])

    assert script.stored["a"].attributes["year"] == 1990


def test_an_unknown_field_is_refused_before_sending(client: Client, script: Script) -> None:
    with pytest.raises(errors.InvalidItem, match="id and any of text"):
        client.upsert_many("films", [{"id": "a", "body": "x"}])

    assert script.stored == {}


def test_an_integer_that_would_be_rounded_is_refused(client: Client) -> None:
    with pytest.raises(errors.InvalidItem, match="beyond 2\\^53"):
        client.upsert_many("films", [Item("a", "x", {"views": 2**53 + 1})])


def test_progress_tells_what_is_durable(client: Client) -> None:
    seen: list[int] = []

    client.upsert_many(
        "films", items(30), max_items=10, on_progress=lambda report: seen.append(report.acknowledged)
    )

    assert seen == [10, 20, 30]


@pytest.mark.parametrize("store_before_breaking", [False, True])
def test_a_broken_stream_goes_on_from_the_last_acknowledgement(
    client: Client, script: Script, store_before_breaking: bool
) -> None:
    script.break_after_acks = [3, 0, 2]
    script.store_before_breaking = store_before_breaking

    report = client.upsert_many("films", items(100), max_items=10)

    assert sorted(script.stored) == [item.id for item in items(100)]
    assert (report.acknowledged, report.reconnects) == (100, 3)


def test_a_stream_that_never_gets_on_gives_up_and_tells_how_far_it_came(
    client: Client, script: Script
) -> None:
    script.break_after_acks = [2, 0, 0, 0, 0]

    with pytest.raises(errors.Unavailable, match="restarting") as caught:
        client.upsert_many("films", items(100), max_items=10)

    assert caught.value.__notes__ == ["20 items were stored before this"]


def test_a_refused_stream_is_not_resumed(client: Client, script: Script) -> None:
    script.break_after_acks = [1]
    script.stream_fault = fault(grpc.StatusCode.NOT_FOUND, "no", reason="COLLECTION_NOT_FOUND")

    with pytest.raises(errors.CollectionNotFound):
        client.upsert_many("films", items(100), max_items=10, create_collection=False)


def test_refused_items_are_reported_by_their_place_in_the_iterable(client: Client) -> None:
    mixed = [*items(12), Item("refused", "x"), Item("last", "x")]

    report = client.upsert_many("films", mixed, max_items=5)

    assert (report.acknowledged, report.inserted, report.refused) == (14, 13, 1)
    assert [(failure.position, failure.id) for failure in report.failures] == [(12, "refused")]
    assert isinstance(report.failures[0].error, errors.InvalidId)


def test_an_error_of_the_callers_iterable_reaches_the_caller(client: Client) -> None:
    def failing() -> Iterator[Item]:
        yield from items(25)
        raise RuntimeError("the file is torn")

    with pytest.raises(RuntimeError, match="torn"):
        client.upsert_many("films", failing(), max_items=10)


def test_only_a_few_requests_are_ahead_of_the_acknowledgements(client: Client, script: Script) -> None:
    made = 0
    ahead: list[int] = []

    def counted() -> Iterator[Item]:
        nonlocal made
        for item in items(3000):
            made += 1
            yield item

    client.upsert_many(
        "films",
        counted(),
        max_items=10,
        on_progress=lambda report: ahead.append(made - report.acknowledged),
    )

    assert max(ahead) <= 100


def test_a_server_that_falls_silent_does_not_hang_the_caller(client: Client, script: Script) -> None:
    script.upsert_hook = lambda request: time.sleep(1.0)

    with pytest.raises(errors.DeadlineExceeded, match=r"acknowledged nothing for 0\.2 s"):
        client.upsert_many("films", items(10), timeout_s=0.2)


def test_the_async_client_resumes_too(scripted_target: str, script: Script, impatient: RetryPolicy) -> None:
    script.break_after_acks = [3, 0]

    async def numbered() -> AsyncIterator[Item]:
        for item in items(100):
            yield item

    async def upsert() -> UpsertReport:
        async with AsyncClient(scripted_target, retries=impatient) as client:
            return await client.upsert_many("films", numbered(), max_items=10)

    report = asyncio.run(upsert())

    assert len(script.stored) == 100
    assert (report.acknowledged, report.reconnects) == (100, 2)


def test_the_async_client_says_why_a_stream_is_refused(scripted_target: str, script: Script) -> None:
    script.break_after_acks = [0]
    script.stream_fault = fault(grpc.StatusCode.NOT_FOUND, "no", reason="COLLECTION_NOT_FOUND")

    async def upsert() -> None:
        async with AsyncClient(scripted_target) as client:
            await client.upsert_many("films", items(100), max_items=10, create_collection=False)

    with pytest.raises(errors.CollectionNotFound):
        asyncio.run(upsert())


def test_the_async_client_says_when_nobody_listens(impatient: RetryPolicy) -> None:
    async def upsert() -> None:
        async with AsyncClient("127.0.0.1:1", retries=impatient) as client:
            await client.upsert_many("films", items(100), max_items=10)

    with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:1"):
        asyncio.run(upsert())


def test_listing_reads_page_by_page(client: Client, script: Script) -> None:
    client.upsert_many("films", items(25))

    found = list(client.list_items("films", page_size=10))

    assert [item.id for item in found] == [item.id for item in items(25)]
    assert len(script.requests) == 3


def test_the_async_client_lists_page_by_page(scripted_target: str, script: Script) -> None:
    async def listed() -> list[str]:
        async with AsyncClient(scripted_target) as client:
            await client.upsert_many("films", items(25))
            return [item.id async for item in client.list_items("films", page_size=10)]

    assert asyncio.run(listed()) == [item.id for item in items(25)]
