from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from google.protobuf import struct_pb2
from grpc import StatusCode

from protos.twinspire.v1 import filters_pb2, items_pb2, search_pb2
from tests.server.running import TIMEOUT_S, Failure, Running, unpack
from tests.server.workspaces import COLLECTION, WORDS

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]


def item(id: str, text: str = "north", **attributes: Any) -> items_pb2.Item:
    message = items_pb2.Item(id=id, text=text)
    message.attributes.update(attributes)
    return message


def get(running: Running, *ids: str) -> items_pb2.GetItemsResponse:
    return running.items.GetItems(
        items_pb2.GetItemsRequest(collection=COLLECTION, ids=ids), timeout=TIMEOUT_S
    )


def count(running: Running, filter: filters_pb2.Filter | None = None) -> int:
    request = items_pb2.CountItemsRequest(collection=COLLECTION, filter=filter)
    return int(running.items.CountItems(request, timeout=TIMEOUT_S).count)


def delete(running: Running, **what: Any) -> items_pb2.DeleteItemsResponse:
    return running.items.DeleteItems(
        items_pb2.DeleteItemsRequest(collection=COLLECTION, **what), timeout=TIMEOUT_S
    )


PAIRS = filters_pb2.Filter(
    must=[
        filters_pb2.Condition(
            match=filters_pb2.Match(attribute="pair", any_of=[filters_pb2.Value(bool_value=True)])
        )
    ]
)


def test_an_upserted_item_is_found_by_the_next_search(running: Running) -> None:
    running.upsert(item("fresh", "far far"))

    assert running.ids("far", limit=2) == ["far", "fresh"]


def test_a_replaced_item_is_found_by_its_new_text_only(running: Running) -> None:
    running.upsert(item("north", "far"))

    assert running.ids("far", limit=2) == ["far", "north"]
    assert "north" not in running.ids("north", limit=5, score_threshold=0.5)


def test_many_upserts_in_one_stream_are_acknowledged_in_order(running: Running) -> None:
    requests = [
        items_pb2.UpsertItemsRequest(collection=COLLECTION, items=[item(f"s{at}", "far")]) for at in range(5)
    ]

    answers = list(running.items.UpsertItems(iter(requests), timeout=TIMEOUT_S))

    sequences = [answer.sequence for answer in answers]
    assert sequences == sorted(set(sequences))
    assert set(running.ids("far", limit=6)) == {"far", "s0", "s1", "s2", "s3", "s4"}


def test_each_item_is_found_once_its_own_request_is_acknowledged(running: Running) -> None:
    def requests() -> Any:
        for at in range(5):
            yield items_pb2.UpsertItemsRequest(collection=COLLECTION, items=[item(f"s{at}", "far")])

    for at, _ in enumerate(running.items.UpsertItems(requests(), timeout=TIMEOUT_S)):
        assert f"s{at}" in running.ids("far", limit=20)


def test_an_upsert_counts_what_it_did(running: Running) -> None:
    answer = running.upsert(item("new one"), item("north", "changed"), item("east", "east", length=4))

    assert (answer.inserted, answer.replaced, answer.unchanged) == (1, 1, 1)


def test_attributes_are_updated_in_place(running: Running) -> None:
    running.upsert(item("east", "east", colour="grey"))

    (found,) = get(running, "east").items
    assert dict(found.attributes) == {"colour": "grey"}


def test_bad_items_are_refused_one_by_one(running: Running) -> None:
    answer = running.upsert(item("good", "far"), item("blank", "  "), item("", "no id"), item("fine", "far"))

    assert [error.index for error in answer.errors] == [1, 2]
    assert answer.inserted == 2
    assert {unpack(error.error)[0].reason for error in answer.errors} == {  # type: ignore[attr-defined]
        "INVALID_ITEM",
        "INVALID_ID",
    }


def test_media_items_are_refused_without_an_allowed_root(running: Running) -> None:
    media = items_pb2.Item(id="song", modality=items_pb2.MODALITY_AUDIO, uri="/etc/passwd")

    (error,) = running.upsert(media).errors

    assert error.error.code == StatusCode.PERMISSION_DENIED.value[0]


def test_an_unknown_collection_is_not_made_unasked(running: Running, fails: Fails) -> None:
    failure = fails(lambda: running.upsert(item("a"), collection="fresh"))

    assert failure.reason == "COLLECTION_NOT_FOUND"


def test_a_collection_is_made_when_asked(running: Running) -> None:
    running.upsert(item("a"), collection="fresh", create_collection=True)

    request = items_pb2.CountItemsRequest(collection="fresh")
    assert running.items.CountItems(request, timeout=TIMEOUT_S).count == 1


def test_items_are_stored_without_a_live_encoder(running: Running, fails: Fails) -> None:
    running.upsert(item("a"), collection="fresh", create_collection=True)

    failure = fails(lambda: running.find("north", collection="fresh"))

    assert failure.code == StatusCode.UNAVAILABLE


@pytest.mark.parametrize("name", ["", "-", "a/b", "../x", "x" * 129])
def test_a_bad_collection_name_is_refused(running: Running, fails: Fails, name: str) -> None:
    failure = fails(lambda: running.upsert(item("a"), collection=name, create_collection=True))

    assert failure.code == StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("number", [0, 1001])
def test_an_upsert_out_of_range_is_refused(running: Running, fails: Fails, number: int) -> None:
    failure = fails(lambda: running.upsert(*[item(str(at)) for at in range(number)]))

    assert failure.code == StatusCode.INVALID_ARGUMENT


def test_attributes_of_every_kind_round_trip(running: Running) -> None:
    values: Any = {
        "text": "\u00e9",
        "number": 1.5,
        "whole": 3,
        "flag": False,
        "none": None,
        "list": ["a", 1, True],
    }
    attributes = struct_pb2.Struct()
    attributes.update(values)
    running.upsert(items_pb2.Item(id="all", text="far", attributes=attributes))

    (found,) = get(running, "all").items

    assert found.attributes == attributes


def test_deleted_items_are_found_no_more(running: Running) -> None:
    answer = delete(running, ids=items_pb2.ItemIds(ids=["north", "nothing"]))

    assert (answer.deleted, list(answer.missing_ids)) == (1, ["nothing"])
    assert "north" not in running.ids("north")


def test_items_are_deleted_by_filter(running: Running) -> None:
    answer = delete(running, filter=PAIRS)

    assert answer.deleted == len(WORDS) - 1
    assert count(running) == len(WORDS)


def test_validating_a_deletion_deletes_nothing(running: Running) -> None:
    by_filter = delete(running, filter=PAIRS, validate_only=True)
    by_ids = delete(running, ids=items_pb2.ItemIds(ids=["north", "nothing"]), validate_only=True)

    assert (by_filter.deleted, by_ids.deleted) == (len(WORDS) - 1, 1)
    assert count(running) == 2 * len(WORDS) - 1


@pytest.mark.parametrize("what", [{}, {"filter": filters_pb2.Filter()}, {"ids": items_pb2.ItemIds()}])
def test_a_deletion_of_everything_or_nothing_is_refused(
    running: Running, fails: Fails, what: dict[str, Any]
) -> None:
    assert fails(lambda: delete(running, **what)).code == StatusCode.INVALID_ARGUMENT


def test_items_come_in_the_order_of_the_ids(shared: Running) -> None:
    answer = get(shared, "west", "nothing", "east")

    assert [found.id for found in answer.items] == ["west", "east"]
    assert list(answer.missing_ids) == ["nothing"]


def test_a_listing_goes_through_all_items_page_by_page(shared: Running) -> None:
    ids: list[str] = []
    token = ""
    while True:
        page = shared.items.ListItems(
            items_pb2.ListItemsRequest(collection=COLLECTION, page_size=5, page_token=token),
            timeout=TIMEOUT_S,
        )
        ids += [found.id for found in page.items]
        token = page.next_page_token
        if not token:
            break

    assert len(ids) == len(set(ids)) == 2 * len(WORDS) - 1


def test_a_listing_may_be_filtered(shared: Running) -> None:
    page = shared.items.ListItems(
        items_pb2.ListItemsRequest(collection=COLLECTION, filter=PAIRS), timeout=TIMEOUT_S
    )

    assert len(page.items) == len(WORDS) - 1
    assert not page.next_page_token


def test_a_page_of_large_items_ends_early(running: Running) -> None:
    running.upsert(*[item(f"large{at}", "far " * 250_000) for at in range(4)])

    page = running.items.ListItems(items_pb2.ListItemsRequest(collection=COLLECTION), timeout=TIMEOUT_S)

    assert page.ByteSize() < 4 << 20
    assert page.next_page_token


@pytest.mark.parametrize("size", [0, -1, 1001])
def test_a_page_size_out_of_range_is_refused(shared: Running, fails: Fails, size: int) -> None:
    request = items_pb2.ListItemsRequest(collection=COLLECTION, page_size=size)

    assert (
        fails(lambda: shared.items.ListItems(request, timeout=TIMEOUT_S)).code == StatusCode.INVALID_ARGUMENT
    )


def test_a_page_token_survives_a_restart(start_server: Callable[..., Running]) -> None:
    first = start_server()
    request = items_pb2.ListItemsRequest(collection=COLLECTION, page_size=1)
    token = first.items.ListItems(request, timeout=TIMEOUT_S).next_page_token

    second = start_server()
    page = second.items.ListItems(
        items_pb2.ListItemsRequest(collection=COLLECTION, page_size=1, page_token=token), timeout=TIMEOUT_S
    )

    assert page.items[0].id == WORDS[1]


def test_items_are_counted_by_filter(shared: Running) -> None:
    assert count(shared, PAIRS) == len(WORDS) - 1


def test_an_upsert_is_found_through_every_kind_of_query(running: Running) -> None:
    running.upsert(item("fresh", "old new"))

    like = search_pb2.Query(item_id="fresh")
    assert "old-new" in running.ids(query=like, limit=1)
