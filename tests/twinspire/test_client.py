"""The client against a real server over loopback."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.server.running import Running, run_server
from tests.server.workspaces import COLLECTION, DIMS, build_version, direction, make_workspace
from twinspire import (
    AsyncClient,
    Client,
    Diversity,
    Example,
    Exists,
    Filter,
    HasId,
    Item,
    LinearFusion,
    Match,
    Range,
    RrfFusion,
    ScoreKind,
    SearchQuery,
    TwinspireError,
    errors,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with make_workspace(tmp_path_factory.mktemp("shared")) as ws:
        yield from run_server(ws)


@pytest.fixture(scope="module")
def reader(shared: Running) -> Iterator[Client]:
    """A client of a server that no test writes to."""
    with Client(f"127.0.0.1:{shared.server.port}") as client:
        client.wait_until_ready()
        yield client


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with make_workspace(tmp_path / "workspace") as ws:
        yield from run_server(ws)


@pytest.fixture
def writer(running: Running) -> Iterator[Client]:
    """A client of a server of this test's own."""
    with Client(f"127.0.0.1:{running.server.port}") as client:
        client.wait_until_ready()
        yield client


def ids(client: Client, *query: str, **options: object) -> list[str]:
    return [hit.id for hit in client.search(COLLECTION, *query, **options).hits]  # type: ignore[arg-type]


def test_a_text_finds_its_item_first(reader: Client) -> None:
    result = reader.search(COLLECTION, "north", limit=3)

    first = result.hits[0]
    assert (first.id, first.rank, first.text) == ("north", 1, "north")
    assert first.score == pytest.approx(1.0)
    assert first.attributes == {"length": 5}
    assert result.score_kind is ScoreKind.COSINE
    assert result.model_version == "compass@1"
    assert result.timing.total_ms > 0
    assert len(result.encoder_fingerprint) == 64


def test_a_vector_finds_what_its_text_finds(reader: Client) -> None:
    assert ids(reader, vector=direction("red"), limit=3) == ids(reader, "red", limit=3)


def test_a_float64_vector_is_cast(reader: Client) -> None:
    assert ids(reader, vector=direction("red").astype(np.float64), limit=1) == ["red"]


def test_a_vector_of_another_width_is_refused_with_both_widths(reader: Client) -> None:
    with pytest.raises(errors.DimensionMismatch) as caught:
        reader.search(COLLECTION, vector=[1.0, 2.0])

    assert caught.value.metadata["expected"] == str(DIMS)
    assert caught.value.metadata["got"] == "2"


def test_an_item_finds_others_like_it(reader: Client) -> None:
    found = ids(reader, item_id="north", limit=1)

    assert found == ["north-east"]


def test_examples_are_near_the_positives_and_far_from_the_negatives(reader: Client) -> None:
    result = reader.search(
        COLLECTION, positives=["north", Example(text="east", weight=0.5)], negatives=["west"], limit=3
    )

    assert result.score_kind is ScoreKind.EXAMPLES
    assert result.hits[0].id == "north-east"


@pytest.mark.parametrize("fusion", [True, RrfFusion(k=10), LinearFusion(alpha=0.5)])
def test_a_hybrid_search_says_so(reader: Client, fusion: bool | RrfFusion | LinearFusion) -> None:
    result = reader.search(COLLECTION, "blue", hybrid=fusion, limit=2)

    assert result.score_kind is ScoreKind.FUSED
    assert result.hits[0].id == "blue"


def test_a_filter_may_be_an_expression_or_a_tree(reader: Client) -> None:
    by_text = ids(reader, "red", filter="pair = true and length < 9 or id in ('red')", limit=20)
    tree = Filter(
        should=(
            Filter(must=(Match("pair", (True,)), Range(attribute="length", lt=9))),
            HasId(("red",)),
        )
    )

    assert ids(reader, "red", filter=tree, limit=20) == by_text
    assert by_text[0] == "red"


def test_a_filter_tree_may_negate(reader: Client) -> None:
    found = ids(reader, "red", filter=Filter(must_not=(Exists("pair"),)), limit=50)

    assert "red" in found
    assert not any("-" in id for id in found)


def test_a_broken_expression_says_where(reader: Client) -> None:
    with pytest.raises(errors.InvalidFilter):
        reader.search(COLLECTION, "red", filter="length >")


def test_options_reach_the_server(reader: Client) -> None:
    result = reader.search(
        COLLECTION,
        "red",
        limit=5,
        score_threshold=0.9,
        attributes=["pair"],
        with_vector=True,
        exact=True,
        explain=True,
        diversity=Diversity(weight=0.0),
    )

    (hit,) = result.hits
    assert hit.attributes == {}
    assert hit.vector is not None
    np.testing.assert_allclose(hit.vector, direction("red"), atol=1e-3)
    assert hit.explanation is not None
    assert (hit.explanation.source, hit.explanation.plan) == ("index", "exact")
    assert hit.explanation.dense_score == pytest.approx(1.0)


def test_another_encoder_than_expected_is_refused(reader: Client) -> None:
    with pytest.raises(errors.EncoderIndexMismatch):
        reader.search(COLLECTION, "red", expected_fingerprint="0" * 64)


def test_an_unknown_collection_is_not_found(reader: Client) -> None:
    with pytest.raises(errors.CollectionNotFound) as caught:
        reader.search("nowhere", "red")

    assert caught.value.metadata == {"collection": "nowhere"}


def test_asking_by_two_things_is_refused_before_sending(reader: Client) -> None:
    with pytest.raises(errors.InvalidInput, match="exactly one of text, image"):
        reader.search(COLLECTION, "red", item_id="blue")


def test_a_batch_answers_each_query_and_a_bad_one_fails_alone(reader: Client) -> None:
    good, bad, other = reader.batch_search(
        COLLECTION, ["red", " ", SearchQuery(vector=direction("blue"), limit=1)]
    )

    assert not isinstance(good, TwinspireError)
    assert good.hits[0].id == "red"
    assert isinstance(bad, errors.EmptyQuery)
    assert not isinstance(other, TwinspireError)
    assert [hit.id for hit in other.hits] == ["blue"]


def test_an_upserted_item_is_found_by_the_next_search(writer: Client) -> None:
    writer.upsert_many(COLLECTION, [Item("new-far", "new far", {"tags": ["x", "y"], "when": None})])

    (hit,) = writer.search(COLLECTION, "new far", limit=1).hits

    assert hit.id == "new-far"
    assert hit.attributes == {"tags": ["x", "y"], "when": None}


def test_many_items_round_trip(writer: Client) -> None:
    count = 2500
    report = writer.upsert_many(
        "numbers", ({"id": f"é{n}", "text": f"number {n}", "attributes": {"n": n}} for n in range(count))
    )

    assert (report.inserted, report.refused) == (count, 0)
    assert writer.count_items("numbers") == count
    assert writer.count_items("numbers", filter="n < 10") == 10
    listed = list(writer.list_items("numbers", filter="n >= 100", page_size=700))
    assert [item.attributes["n"] for item in listed] == list(range(100, count))


def test_an_upsert_sent_again_changes_nothing(writer: Client) -> None:
    some = [Item(str(n), f"number {n}") for n in range(10)]
    writer.upsert_many("numbers", some)

    again = writer.upsert_many("numbers", some)

    assert (again.inserted, again.replaced, again.unchanged) == (0, 0, 10)


def test_a_refused_item_leaves_the_others_alone(writer: Client) -> None:
    report = writer.upsert_many(COLLECTION, [Item("x" * 600, "far"), Item("fine", "far")])

    assert (report.inserted, report.refused) == (1, 1)
    (failure,) = report.failures
    assert failure.position == 0
    assert isinstance(failure.error, errors.InvalidId)


def test_items_are_got_in_order_and_missing_ones_are_named(reader: Client) -> None:
    found = reader.get_items(COLLECTION, ["west", "nobody", "east"])

    assert [item.id for item in found.items] == ["west", "east"]
    assert found.missing_ids == ("nobody",)


def test_items_are_deleted_by_id(writer: Client) -> None:
    result = writer.delete_items(COLLECTION, ids=["north", "nobody"])

    assert (result.deleted, result.missing_ids) == (1, ("nobody",))
    assert "north" not in ids(writer, "north", limit=50)


def test_a_deletion_by_filter_can_be_tried_out(writer: Client) -> None:
    before = writer.count_items(COLLECTION)

    tried = writer.delete_items(COLLECTION, filter="pair = true", validate_only=True)
    unchanged = writer.count_items(COLLECTION)
    done = writer.delete_items(COLLECTION, filter="pair = true")

    assert unchanged == before
    assert tried.deleted == done.deleted == before - writer.count_items(COLLECTION)


def test_deleting_takes_ids_or_a_filter(reader: Client) -> None:
    with pytest.raises(errors.InvalidInput, match="exactly one of ids and filter"):
        reader.delete_items(COLLECTION)


def test_texts_are_encoded(reader: Client) -> None:
    encoded = reader.encode(["red", "blue"], collection=COLLECTION)

    assert encoded.vectors.shape == (2, DIMS)
    np.testing.assert_allclose(encoded.vectors[0], direction("red"), atol=1e-6)


def test_collections_encoders_versions_and_the_server_describe_themselves(reader: Client) -> None:
    (collection,) = reader.list_collections()
    (version,) = reader.list_versions(COLLECTION)
    info = reader.server_info()

    assert collection == reader.get_collection(COLLECTION)
    assert collection.live_version == version.version
    assert collection.encoder is not None
    assert collection.encoder.name == "compass"
    assert version.live
    assert version.count == collection.segment_count
    assert info.limits["max_limit"] == 1000
    assert [backend.name for backend in info.backends] == ["exact"]
    assert [encoder.fingerprint for encoder in reader.list_encoders()] == [collection.encoder.fingerprint]


def test_the_live_version_is_switched_by_compare_and_set(writer: Client, running: Running) -> None:
    first = writer.get_collection(COLLECTION).live_version
    second = build_version(running.ws)

    change = writer.set_live_version(COLLECTION, second, expected_version=first)

    assert (change.previous_version, change.live_version) == (first, second)
    with pytest.raises(errors.VersionMoved):
        writer.set_live_version(COLLECTION, first, expected_version=first)


def test_a_deadline_in_the_past_is_told_as_such(reader: Client) -> None:
    with pytest.raises(errors.DeadlineExceeded, match="allow more with timeout_s"):
        reader.search(COLLECTION, "red", timeout_s=0.0)


def test_a_client_may_be_shared_by_threads(reader: Client) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend(ids(reader, "red", limit=1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["red"] * 8


def test_waiting_ends_when_a_server_comes_up(tmp_path: Path) -> None:
    with make_workspace(tmp_path / "workspace") as ws:
        started = time.monotonic()
        for running in run_server(ws):
            with Client(f"127.0.0.1:{running.server.port}") as client:
                client.wait_until_ready(timeout_s=20)
                assert client.is_ready()
        assert time.monotonic() - started < 20


def test_the_async_client_does_all_of_it(running: Running) -> None:
    async def work() -> None:
        async with AsyncClient(f"127.0.0.1:{running.server.port}") as client:
            await client.wait_until_ready()
            report = await client.upsert_many("numbers", (Item(str(n), f"number {n}") for n in range(20)))
            assert report.inserted == 20
            assert await client.count_items("numbers") == 20
            assert [item.id async for item in client.list_items("numbers", page_size=7)] == list(
                map(str, range(20))
            )
            assert (await client.get_items("numbers", ["3"])).items[0].text == "number 3"
            assert (await client.delete_items("numbers", ids=["3"])).deleted == 1
            result = await client.search(COLLECTION, "red", limit=1)
            assert result.hits[0].id == "red"
            (answer,) = await client.batch_search(COLLECTION, ["blue"])
            assert not isinstance(answer, TwinspireError)
            assert (await client.encode(["red"], collection=COLLECTION)).vectors.shape == (1, DIMS)
            assert [found.name for found in await client.list_collections()] == [COLLECTION, "numbers"]
            live = (await client.get_collection(COLLECTION)).live_version
            assert [version.version for version in await client.list_versions(COLLECTION)] == [live]
            with pytest.raises(errors.VersionMoved):
                await client.set_live_version(COLLECTION, live, expected_version="other")
            assert (await client.server_info()).version
            assert await client.list_encoders()

    asyncio.run(work())


def test_many_searches_run_at_once(running: Running) -> None:
    async def work() -> list[str]:
        async with AsyncClient(f"127.0.0.1:{running.server.port}") as client:
            results = await asyncio.gather(*(client.search(COLLECTION, "red", limit=1) for _ in range(50)))
            return [result.hits[0].id for result in results]

    assert asyncio.run(work()) == ["red"] * 50
