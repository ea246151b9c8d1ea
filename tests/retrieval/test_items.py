import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.collections import CollectionCounts, count
from retrieval.content import Modality
from retrieval.errors import CollectionNotFound, InvalidId, InvalidItem
from retrieval.filters import Filter, Match
from retrieval.items import (
    MAX_ID_BYTES,
    MAX_TEXT_BYTES,
    Item,
    UpsertCounts,
    count_items,
    delete_items,
    get_items,
    ids_matching,
    item_digest,
    list_items,
    sequence,
    upsert_items,
    validate_item,
)
from retrieval.segments import Chunking
from retrieval.text_search import lexical_search
from retrieval.workspace import Workspace

shared_workspace = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


def test_new_items_are_inserted(workspace: Workspace) -> None:
    counts = upsert_items(workspace, "c", [Item("a", text="one"), Item("b", text="two")])

    assert counts == UpsertCounts(inserted=2, replaced=0, unchanged=0)
    assert count(workspace, "c") == CollectionCounts(items=2, segments=2)


def test_the_same_content_keeps_its_rowid(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="one", attributes={"x": 1})])
    (before,) = get_items(workspace, "c", ["a"])

    counts = upsert_items(workspace, "c", [Item("a", text="one", attributes={"x": 2})])

    (after,) = get_items(workspace, "c", ["a"])
    assert counts == UpsertCounts(inserted=0, replaced=0, unchanged=1)
    assert (after.rowid, after.attributes) == (before.rowid, {"x": 2})


def test_an_unchanged_upsert_does_not_move_the_sequence(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="one")])
    before = sequence(workspace, "c")

    upsert_items(workspace, "c", [Item("a", text="one")])

    assert sequence(workspace, "c") == before


def test_changed_content_gets_a_higher_rowid_and_key(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="one"), Item("b", text="two")])
    (before,) = get_items(workspace, "c", ["a"])
    key = sequence(workspace, "c")

    counts = upsert_items(workspace, "c", [Item("a", text="three")])

    (after,) = get_items(workspace, "c", ["a"])
    assert counts == UpsertCounts(inserted=0, replaced=1, unchanged=0)
    assert after.rowid > before.rowid
    assert sequence(workspace, "c") == key + 1
    assert count(workspace, "c") == CollectionCounts(items=2, segments=2)


def test_a_rowid_is_never_given_twice(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="one"), Item("b", text="two")])
    (last,) = get_items(workspace, "c", ["b"])
    key = sequence(workspace, "c")
    delete_items(workspace, "c", ["b"])

    upsert_items(workspace, "c", [Item("z", text="new")])

    (new,) = get_items(workspace, "c", ["z"])
    assert new.rowid > last.rowid
    assert sequence(workspace, "c") == key + 1


def test_the_last_of_items_with_the_same_id_counts(workspace: Workspace) -> None:
    counts = upsert_items(
        workspace, "c", [Item("a", text="first"), Item("b", text="x"), Item("a", text="last")]
    )

    assert counts == UpsertCounts(inserted=2, replaced=0, unchanged=0)
    assert get_items(workspace, "c", ["a"])[0].text == "last"


def test_one_bad_item_stores_none_of_a_call(workspace: Workspace) -> None:
    with pytest.raises(InvalidItem):
        upsert_items(workspace, "c", [Item("a", text="one"), Item("b", text=" ")])

    assert count_items(workspace, "c") == 0


def test_long_texts_become_spans(workspace: Workspace) -> None:
    text = "One two three. Four five six. Seven eight nine."

    upsert_items(workspace, "c", [Item("a", text=text), Item("b", text="short")], chunking=Chunking(4))

    spans = workspace.fetch("SELECT start, end FROM segments ORDER BY rowid")
    parts = [None if start is None else text[int(start) : int(end)] for start, end in spans]
    assert parts == ["One two three.", "Four five six.", "Seven eight nine.", None]


def test_a_deleted_item_is_gone_from_text_search(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="green apples"), Item("b", text="red apples")])

    assert delete_items(workspace, "c", ["missing", "a", "a"]) == ["a"]
    assert [id for _, id, _ in lexical_search(workspace, "c", "green apples", 5)] == ["b"]
    assert count(workspace, "c") == CollectionCounts(items=1, segments=1)


def test_replaced_text_is_gone_from_text_search(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="green apples")])

    upsert_items(workspace, "c", [Item("a", text="red pears")])

    assert lexical_search(workspace, "c", "apples", 5) == []
    assert [id for _, id, _ in lexical_search(workspace, "c", "pears", 5)] == ["a"]


def test_items_come_in_the_order_of_the_ids_asked_for(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item(id, text=id) for id in "abc"])

    assert [item.id for item in get_items(workspace, "c", ["c", "missing", "a", "c"])] == ["c", "a"]


def test_a_listing_goes_on_after_a_rowid(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item(id, text=id, attributes={"odd": id in "ace"}) for id in "abcde"])
    odd = Filter(must=(Match("odd", (True,)),))

    first = list_items(workspace, "c", filter=odd, limit=2)
    rest = list_items(workspace, "c", filter=odd, after_rowid=first[-1].rowid)

    assert [item.id for item in first + rest] == ["a", "c", "e"]
    assert count_items(workspace, "c", odd) == 3
    assert ids_matching(workspace, "c", odd) == ["a", "c", "e"]


@pytest.mark.parametrize(
    ("after_rowid", "limit", "found"), [(1 << 80, 5, 0), (-1, 5, 2), (0, 0, 0), (0, -1, 0)]
)
def test_a_listing_takes_any_bounds(after_rowid: int, limit: int, found: int, workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="x"), Item("b", text="x")])

    assert len(list_items(workspace, "c", after_rowid=after_rowid, limit=limit)) == found


def test_a_media_item_needs_a_uri_and_no_text(workspace: Workspace) -> None:
    validate_item(Item("a", Modality.IMAGE, uri="photos/a.png"))

    with pytest.raises(InvalidItem, match="uri: expected that of the image file"):
        validate_item(Item("a", Modality.IMAGE, text="a caption"))


def test_attributes_do_not_change_the_digest() -> None:
    assert item_digest(Item("a", text="one")) == item_digest(Item("b", text="one", attributes={"x": 1}))


def test_text_and_uri_are_told_apart_in_the_digest() -> None:
    digests = {
        item_digest(Item("a", Modality.IMAGE, text="y", uri="x")),
        item_digest(Item("a", Modality.IMAGE, text="x", uri="y")),
        item_digest(Item("a", Modality.IMAGE, uri="xy")),
        item_digest(Item("a", Modality.AUDIO, uri="xy")),
    }

    assert len(digests) == 4


@pytest.mark.parametrize("id", ["", "é" * 257, "a" * (MAX_ID_BYTES + 1)])
def test_an_empty_or_long_id_is_refused(id: str) -> None:
    with pytest.raises(InvalidId):
        validate_item(Item(id, text="x"))


def test_the_longest_id_and_text_are_stored(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("é" * 256, text="x" * MAX_TEXT_BYTES)])

    assert len(get_items(workspace, "c", ["é" * 256])[0].text) == MAX_TEXT_BYTES


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item("a\0b", text="x"), "id: expected a text without NUL"),
        (Item("a\ud800", text="x"), "id: expected valid Unicode"),
        (Item("a", text="\udfff"), "text: expected valid Unicode"),
        (Item("a", text="\n \t"), "text: expected some"),
        (Item("a", text="é" * (MAX_TEXT_BYTES // 2 + 1)), "text: expected at most"),
        (Item("a", text="x", uri="u" * 5000), "uri: expected at most"),
        (Item("a", text="x", attributes={"": 1}), "names of 1 to 256 bytes"),
        (Item("a", text="x", attributes={"n" * 257: 1}), "names of 1 to 256 bytes"),
        (Item("a", text="x", attributes={"n": float("nan")}), "expected a finite number"),
        (Item("a", text="x", attributes={"n": [1.0, float("inf")]}), "expected a finite number"),
        (Item("a", text="x", attributes={"n": 1 << 63}), "at most 64 bits"),
        (Item("a", text="x", attributes={"n": {"nested": 1}}), "got dict"),
        (Item("a", text="x", attributes={"n": [[1]]}), "got list"),
        (Item("a", text="x", attributes={"n": b"bytes"}), "got bytes"),
        (Item("a", text="x", attributes={"n": "a\0b"}), "without NUL"),
        (Item("a", text="x", attributes={"n": "\ud83d"}), "valid Unicode"),
        (Item("a", text="x", attributes={"n": "x" * (1 << 16)}), "bytes of JSON"),
        (Item("a", text="x", attributes={str(n): n for n in range(257)}), "expected at most 256"),
    ],
)
def test_what_cannot_be_stored_is_refused(item: Item, message: str) -> None:
    with pytest.raises(InvalidItem, match=message):
        validate_item(item)


def test_writing_to_an_unknown_collection_is_refused(workspace: Workspace) -> None:
    with pytest.raises(CollectionNotFound):
        upsert_items(workspace, "missing", [Item("a", text="x")])


def test_ids_that_only_look_alike_are_different_items(workspace: Workspace) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")

    upsert_items(workspace, "c", [Item(composed, text="composed"), Item(decomposed, text="decomposed")])

    texts = [item.text for item in get_items(workspace, "c", [decomposed, composed])]
    assert texts == ["decomposed", "composed"]


@shared_workspace
@given(ids=st.lists(IDS, min_size=1, max_size=8, unique=True))
def test_any_unicode_id_round_trips(ids: list[str], workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item(id, text=f"text of {id}") for id in ids])

    found = get_items(workspace, "c", ids)

    assert [(item.id.encode(), item.text) for item in found] == [(id.encode(), f"text of {id}") for id in ids]
    assert sorted(delete_items(workspace, "c", ids)) == sorted(ids)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | IDS
)


@shared_workspace
@given(attributes=st.dictionaries(IDS, SCALARS | st.lists(SCALARS, max_size=4), max_size=5))
def test_any_flat_attributes_round_trip(attributes: dict[str, Any], workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="x", attributes=attributes)])

    assert get_items(workspace, "c", ["a"])[0].attributes == attributes


@shared_workspace
@given(
    steps=st.lists(
        st.tuples(
            st.booleans(),
            st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["x", "y z", "w"])), max_size=4),
        ),
        max_size=6,
    )
)
def test_the_store_behaves_like_a_dictionary(
    steps: list[tuple[bool, list[tuple[str, str]]]], workspace: Workspace
) -> None:
    delete_items(workspace, "c", list("abcde"))
    expected: dict[str, str] = {}
    for writes, pairs in steps:
        if writes:
            upsert_items(workspace, "c", [Item(id, text=text) for id, text in pairs])
            expected.update(pairs)
        else:
            delete_items(workspace, "c", [id for id, _ in pairs])
            expected = {id: text for id, text in expected.items() if id not in dict(pairs)}

    assert {item.id: item.text for item in list_items(workspace, "c")} == expected
    assert count(workspace, "c") == CollectionCounts(len(expected), len(expected))
    with_x = {id for _, id, _ in lexical_search(workspace, "c", "x", 10)}
    assert with_x == {id for id, text in expected.items() if text == "x"}
