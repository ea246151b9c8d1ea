"""The group *Requests* of the fault list: docs/faults.md says which test is for which row."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import grpc
import pytest
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2
from grpc import StatusCode

from protos.twinspire.v1 import content_pb2, filters_pb2, items_pb2, search_pb2
from retrieval.errors import Exhausted
from server.wire import delimited
from tests.server.running import TIMEOUT_S, Failure, Running, unpack
from tests.server.workspaces import COLLECTION, WORDS, make_workspace
from twinspire.client import Client

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]

UNARY_METHODS = [
    "SearchService/Search",
    "SearchService/BatchSearch",
    "ItemService/DeleteItems",
    "ItemService/GetItems",
    "ItemService/ListItems",
    "ItemService/CountItems",
    "EncoderService/Encode",
    "CollectionService/GetCollection",
    "CollectionService/ListIndexVersions",
    "CollectionService/SetLiveVersion",
]


@pytest.fixture(autouse=True)
def next_good_call_succeeds(shared: Running) -> Any:
    yield
    assert shared.ids("north", limit=1) == ["north"]


def request(**fields: Any) -> search_pb2.SearchRequest:
    values: dict[str, Any] = {"collection": COLLECTION, "query": search_pb2.Query(text="north")} | fields
    return search_pb2.SearchRequest(**values)


@pytest.mark.parametrize("method", UNARY_METHODS)
def test_malformed_protobuf_is_an_invalid_argument(shared: Running, fails: Fails, method: str) -> None:
    failure = fails(lambda: shared.raw(method, b"\xff\xff\xff\xff"))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


def test_truncated_protobuf_is_an_invalid_argument(shared: Running, fails: Fails) -> None:
    failure = fails(lambda: shared.raw("SearchService/Search", request().SerializeToString()[:-1]))

    assert failure.code == StatusCode.INVALID_ARGUMENT


def test_malformed_protobuf_in_a_stream_is_an_invalid_argument(shared: Running, fails: Fails) -> None:
    call: Any = shared.channel.stream_stream("/twinspire.v1.ItemService/UpsertItems")

    failure = fails(lambda: list(call(iter([b"\xff\xff"]), timeout=TIMEOUT_S)))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


def test_invalid_utf8_is_an_invalid_argument(shared: Running, fails: Fails) -> None:
    failure = fails(lambda: shared.raw("SearchService/Search", delimited(1, b"\xc3\x28")))

    assert failure.code == StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("depth", [20, 41, 60, 1000])
def test_nesting_beyond_forty_is_an_invalid_argument(shared: Running, fails: Fails, depth: int) -> None:
    filter = b""
    for _ in range(depth):
        filter = delimited(1, delimited(5, filter))

    failure = fails(
        lambda: shared.raw("SearchService/Search", request().SerializeToString() + delimited(3, filter))
    )

    assert failure.code == StatusCode.INVALID_ARGUMENT


def test_nested_attributes_are_an_invalid_item(shared: Running) -> None:
    attributes = struct_pb2.Struct()
    attributes.update({"deep": [[1]]})

    answer = shared.upsert(items_pb2.Item(id="deep", text="deep", attributes=attributes))

    (error,) = answer.errors
    assert error.error.code == StatusCode.INVALID_ARGUMENT.value[0]


def test_a_request_over_the_limit_exhausts_a_resource(
    start_server: Callable[..., Running], fails: Fails
) -> None:
    small = start_server(max_request_bytes=1000)

    failure = fails(lambda: small.find("x" * 1001))

    assert (failure.code, failure.reason) == (StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")


def test_a_request_far_over_the_limit_exhausts_a_resource(start_server: Callable[..., Running]) -> None:
    small = start_server(max_request_bytes=1000)

    with pytest.raises(grpc.RpcError) as caught:
        small.find("x" * 100_000)

    assert caught.value.code() == StatusCode.RESOURCE_EXHAUSTED


def test_no_query_is_an_invalid_argument(shared: Running, fails: Fails) -> None:
    failure = fails(
        lambda: shared.search.Search(search_pb2.SearchRequest(collection=COLLECTION), timeout=TIMEOUT_S)
    )

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "EMPTY_QUERY")


def test_two_kinds_of_query_are_an_invalid_argument(shared: Running, fails: Fails) -> None:
    two = search_pb2.Query(text="a").SerializeToString() + search_pb2.Query(item_id="b").SerializeToString()

    failure = fails(
        lambda: shared.raw("SearchService/Search", delimited(1, COLLECTION.encode()) + delimited(2, two))
    )

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "AMBIGUOUS_REQUEST")


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000"])
def test_an_empty_or_blank_text_is_an_invalid_argument(shared: Running, fails: Fails, text: str) -> None:
    failure = fails(lambda: shared.find(text))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "EMPTY_QUERY")
    assert failure.detail(error_details_pb2.BadRequest).field_violations[0].field == "query.text"


def test_a_text_over_the_encoders_limit_is_cut_and_flagged(
    tmp_path: Path, start_server: Callable[..., Running]
) -> None:
    with make_workspace(tmp_path / "short", max_words=2) as ws:
        running = start_server(ws)

        cut, whole = running.find("north north far far far"), running.find("north north")

    assert (cut.truncated_query, whole.truncated_query) == (True, False)
    assert [hit.score for hit in cut.hits] == [hit.score for hit in whole.hits]


@pytest.mark.parametrize("limit", [0, -1, 1001, 2**31 - 1])
def test_a_limit_out_of_range_is_an_invalid_argument(shared: Running, fails: Fails, limit: int) -> None:
    failure = fails(lambda: shared.find("north", limit=limit))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_LIMIT")


def test_a_limit_above_the_count_gives_fewer_hits(shared: Running) -> None:
    answer = shared.find("north", limit=1000)

    assert len(answer.hits) == 2 * len(WORDS) - 1
    assert all(hit.id for hit in answer.hits)


def test_an_unknown_collection_is_not_found(shared: Running, fails: Fails) -> None:
    failure = fails(lambda: shared.find("north", collection="nowhere"))

    assert (failure.code, failure.reason) == (StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")


def test_a_collection_name_of_any_length_is_answered(shared: Running, fails: Fails) -> None:
    failure = fails(lambda: shared.find("north", collection="x" * 1_000_000))

    assert failure.reason == "COLLECTION_NOT_FOUND"


def test_an_unknown_version_is_not_found(shared: Running, fails: Fails) -> None:
    failure = fails(lambda: shared.find("north", index_version="000009-none"))

    assert (failure.code, failure.reason) == (StatusCode.NOT_FOUND, "VERSION_NOT_FOUND")


def test_an_unknown_item_is_not_found(shared: Running, fails: Fails) -> None:
    failure = fails(lambda: shared.find(query=search_pb2.Query(item_id="nothing")))

    assert (failure.code, failure.reason) == (StatusCode.NOT_FOUND, "ITEM_NOT_FOUND")


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_a_modality_that_is_not_served_is_a_failed_precondition(
    shared: Running, fails: Fails, kind: str
) -> None:
    query = search_pb2.Query(**{kind: content_pb2.Media(content=b"\x89PNG")})  # type: ignore[arg-type]

    failure = fails(lambda: shared.find(query=query))

    assert (failure.code, failure.reason) == (StatusCode.FAILED_PRECONDITION, "MODALITY_NOT_SERVED")


@pytest.mark.parametrize("token", ["forged", "AAAA", "\u00fc", "A" * 32, "A" * 10_000])
def test_a_forged_page_token_is_an_invalid_argument(shared: Running, fails: Fails, token: str) -> None:
    listing = items_pb2.ListItemsRequest(collection=COLLECTION, page_token=token)

    failure = fails(lambda: shared.items.ListItems(listing, timeout=TIMEOUT_S))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


def test_the_page_token_of_another_listing_is_an_invalid_argument(shared: Running, fails: Fails) -> None:
    first = shared.items.ListItems(
        items_pb2.ListItemsRequest(collection=COLLECTION, page_size=1), timeout=TIMEOUT_S
    )
    exists = filters_pb2.Condition(exists=filters_pb2.Exists(attribute="pair"))
    other = items_pb2.ListItemsRequest(
        collection=COLLECTION, page_token=first.next_page_token, filter=filters_pb2.Filter(must=[exists])
    )

    failure = fails(lambda: shared.items.ListItems(other, timeout=TIMEOUT_S))

    assert failure.reason == "INVALID_PAGE_TOKEN"


def bad_filters() -> dict[str, filters_pb2.Filter]:
    def must(*conditions: filters_pb2.Condition) -> filters_pb2.Filter:
        return filters_pb2.Filter(must=conditions)

    exists = filters_pb2.Condition(exists=filters_pb2.Exists(attribute="a"))
    nan = filters_pb2.Value(number_value=float("nan"))
    text = filters_pb2.Value(string_value="x")
    deep = must(exists)
    for _ in range(17):
        deep = must(filters_pb2.Condition(filter=deep))
    return {
        "an empty condition": must(filters_pb2.Condition()),
        "no attribute": must(filters_pb2.Condition(exists=filters_pb2.Exists())),
        "no values": must(filters_pb2.Condition(match=filters_pb2.Match(attribute="a"))),
        "an empty value": must(
            filters_pb2.Condition(match=filters_pb2.Match(attribute="a", any_of=[filters_pb2.Value()]))
        ),
        "NaN": must(filters_pb2.Condition(match=filters_pb2.Match(attribute="a", any_of=[nan]))),
        "no bounds": must(filters_pb2.Condition(range=filters_pb2.Range(attribute="a"))),
        "no ids": must(filters_pb2.Condition(has_id=filters_pb2.HasId())),
        "257 conditions": must(*[exists] * 257),
        "18 levels": deep,
        "1025 values": must(
            filters_pb2.Condition(match=filters_pb2.Match(attribute="a", any_of=[text] * 1025))
        ),
        "a long attribute": must(filters_pb2.Condition(exists=filters_pb2.Exists(attribute="a" * 257))),
    }


@pytest.mark.parametrize("what", bad_filters())
def test_a_bad_or_huge_filter_is_an_invalid_argument(shared: Running, fails: Fails, what: str) -> None:
    failure = fails(lambda: shared.find("north", filter=bad_filters()[what]))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_FILTER")


@pytest.mark.parametrize("count", [0, 257])
def test_a_batch_out_of_range_is_an_invalid_argument(shared: Running, fails: Fails, count: int) -> None:
    batch = search_pb2.BatchSearchRequest(requests=[request()] * count)

    assert (
        fails(lambda: shared.search.BatchSearch(batch, timeout=TIMEOUT_S)).code == StatusCode.INVALID_ARGUMENT
    )


def test_a_full_batch_is_answered(shared: Running) -> None:
    batch = search_pb2.BatchSearchRequest(requests=[request(limit=1)] * 256)

    results = shared.search.BatchSearch(batch, timeout=TIMEOUT_S).results

    assert [result.response.hits[0].id for result in results] == ["north"] * 256


def test_one_bad_query_in_a_batch_fails_alone(shared: Running) -> None:
    good, bad = request(limit=1), request(limit=0)
    lost = request(collection="nowhere")
    batch = search_pb2.BatchSearchRequest(requests=[good, bad, lost, good])

    results = shared.search.BatchSearch(batch, timeout=TIMEOUT_S).results

    assert [result.WhichOneof("outcome") for result in results] == ["response", "error", "error", "response"]
    assert [unpack(results[at].error)[0].reason for at in (1, 2)] == [  # type: ignore[attr-defined]
        "INVALID_LIMIT",
        "COLLECTION_NOT_FOUND",
    ]


def test_calibration_is_unimplemented(shared: Running, fails: Fails) -> None:
    assert fails(lambda: shared.find("north", calibrate=True)).code == StatusCode.UNIMPLEMENTED


def test_an_unknown_method_is_unimplemented(shared: Running, fails: Fails) -> None:
    failure = fails(lambda: shared.raw("SearchService/Guess", b""))

    assert (failure.code, failure.reason) == (StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")


@pytest.mark.parametrize(
    "fields",
    [
        {"score_threshold": float("nan")},
        {"params": search_pb2.SearchParams(effort=-1)},
        {"params": search_pb2.SearchParams(effort=4097)},
        {"params": search_pb2.SearchParams(oversampling=0.5)},
        {"params": search_pb2.SearchParams(oversampling=float("nan"))},
        {"diversity": search_pb2.Diversity(weight=1.5)},
        {"diversity": search_pb2.Diversity(candidates=1001)},
    ],
)
def test_a_number_out_of_range_is_an_invalid_argument(
    shared: Running, fails: Fails, fields: dict[str, Any]
) -> None:
    assert fails(lambda: shared.find("north", **fields)).code == StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "hybrid",
    [
        search_pb2.HybridQuery(text=" "),
        search_pb2.HybridQuery(text="a", linear=search_pb2.LinearFusion(alpha=1.1)),
        search_pb2.HybridQuery(text="a", rrf=search_pb2.RrfFusion(k=-1)),
        search_pb2.HybridQuery(text="a", rrf=search_pb2.RrfFusion(dense_weight=0, lexical_weight=0)),
    ],
)
def test_a_bad_hybrid_query_is_an_invalid_argument(
    shared: Running, fails: Fails, hybrid: search_pb2.HybridQuery
) -> None:
    assert (
        fails(lambda: shared.find(query=search_pb2.Query(hybrid=hybrid))).code == StatusCode.INVALID_ARGUMENT
    )


def test_each_fault_is_counted_by_its_reason(shared: Running, fails: Fails) -> None:
    before = shared.metric("twinspire_errors_total", reason="INVALID_LIMIT")

    fails(lambda: shared.find("north", limit=0))

    assert shared.metric("twinspire_errors_total", reason="INVALID_LIMIT") == before + 1


def test_no_status_holds_a_path(shared: Running, fails: Fails) -> None:
    failure = fails(lambda: shared.find("north", index_version="../../etc/passwd"))

    assert str(shared.ws.root) not in failure.message
    assert failure.code == StatusCode.NOT_FOUND


def test_bytes_that_were_tampered_with_never_get_an_internal_error(shared: Running) -> None:
    exists = filters_pb2.Condition(exists=filters_pb2.Exists(attribute="length"))
    whole = request(filter=filters_pb2.Filter(must=[exists] * 3), limit=3, explain=True).SerializeToString()
    random = Random(0)
    allowed = {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.UNIMPLEMENTED}
    allowed |= {StatusCode.FAILED_PRECONDITION, StatusCode.PERMISSION_DENIED}
    codes = set()
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            data[random.randrange(len(data))] = random.randrange(256)
        try:
            shared.raw("SearchService/Search", bytes(data))
        except grpc.RpcError as error:
            codes.add(error.code())
    assert codes <= allowed


@pytest.mark.parametrize("size", [15_000, 30_000])
def test_the_client_tells_a_request_over_the_limit_however_large(
    start_server: Callable[..., Running], size: int
) -> None:
    running = start_server(max_request_bytes=10_000)

    with (
        Client(f"127.0.0.1:{running.server.port}") as client,
        pytest.raises(Exhausted) as caught,
    ):
        client.search(COLLECTION, "x" * size)

    assert caught.value.reason == "REQUEST_TOO_LARGE"
