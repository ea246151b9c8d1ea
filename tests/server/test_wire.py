import pytest

from protos.twinspire.v1 import items_pb2, search_pb2
from server.errors import AmbiguousRequest
from server.wire import delimited, refuse_two_kinds


def check(message: type, data: bytes) -> None:
    refuse_two_kinds(message.FromString(data), data)  # type: ignore[attr-defined]


def test_two_kinds_of_query_are_refused() -> None:
    query = search_pb2.Query(text="a").SerializeToString() + search_pb2.Query(item_id="b").SerializeToString()

    with pytest.raises(AmbiguousRequest, match="text and item_id"):
        check(search_pb2.SearchRequest, delimited(2, query))


def test_two_kinds_split_over_two_queries_are_refused() -> None:
    one, other = search_pb2.Query(text="a"), search_pb2.Query(item_id="b")

    with pytest.raises(AmbiguousRequest):
        check(
            search_pb2.SearchRequest,
            delimited(2, one.SerializeToString()) + delimited(2, other.SerializeToString()),
        )


def test_two_kinds_deep_in_a_batch_are_refused() -> None:
    query = search_pb2.Query(text="a").SerializeToString() + search_pb2.Query(item_id="b").SerializeToString()

    with pytest.raises(AmbiguousRequest):
        check(search_pb2.BatchSearchRequest, delimited(1, delimited(2, query)))


def test_the_same_kind_twice_is_the_last_one() -> None:
    query = search_pb2.Query(text="a").SerializeToString() + search_pb2.Query(text="b").SerializeToString()

    check(search_pb2.SearchRequest, delimited(2, query))


def test_different_kinds_in_different_examples_are_fine() -> None:
    examples = search_pb2.ExampleQuery(
        positives=[search_pb2.Example(text="a"), search_pb2.Example(item_id="b")]
    )
    request = search_pb2.SearchRequest(query=search_pb2.Query(examples=examples))
    data = request.SerializeToString() + b"\x20\x85\x00"  # limit 5, in one byte more than it needs

    check(search_pb2.SearchRequest, data)


def test_unknown_fields_and_groups_are_passed_over() -> None:
    group = b"\xa3\x06\x0a\x01a\xa4\x06"  # field 100, a group that holds a field 1
    fixed = b"\xa9\x06" + bytes(8) + b"\xad\x06" + bytes(4)
    long_varint = b"\x20\x81\x00"
    data = items_pb2.DeleteItemsRequest(collection="c").SerializeToString() + group + fixed + long_varint

    check(items_pb2.DeleteItemsRequest, data)
