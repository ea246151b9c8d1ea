import numpy as np
import pytest

from retrieval.chunking import Chunking
from retrieval.collections import create_collection
from retrieval.content import Content, Modality
from retrieval.embeddings import count_embeddings, encoder_row, put_embeddings, read_embeddings
from retrieval.errors import CollectionNotFound
from retrieval.index import Keys
from retrieval.items import Item, delete_items, sequence, upsert_items
from retrieval.segments import (
    FetchedRow,
    SegmentRow,
    drop_superseded_segments,
    fetch_rows,
    locate,
    pending_segments,
    segment_texts,
    split_long_items,
)
from retrieval.workspace import Workspace

LONG = "One two three. Four five six. Seven eight nine."


def encode(ws: Workspace, keys: list[int] | Keys) -> None:
    encoder_row(ws, "f", 2)
    put_embeddings(ws, "f", keys, np.tile(np.array([0.6, 0.8], dtype=np.float32), (len(keys), 1)))


def pending(ws: Workspace) -> list[int]:
    return [key for key, _ in pending_segments(ws, "c", "f", limit=100)]


def test_rows_show_the_item_and_the_span(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text=LONG, attributes={"x": "é"})], chunking=Chunking(3))

    rows = fetch_rows(workspace, "c", np.array([2], dtype=np.int64))

    assert rows == [FetchedRow(2, "a", "text", LONG, "", '{"x":"é"}', 15.0, 29.0)]


def test_dead_keys_and_those_of_other_collections_are_left_out(workspace: Workspace) -> None:
    create_collection(workspace, "other")
    upsert_items(workspace, "other", [Item("z", text="x")])
    upsert_items(workspace, "c", [Item("a", text="x"), Item("b", text="x")])
    delete_items(workspace, "c", ["a"])
    keys = [1, 2, 3, 99, -1]

    assert [row.key for row in fetch_rows(workspace, "c", keys)] == [3]
    assert locate(workspace, "c", keys) == {3: SegmentRow(3, 3, None, None)}


def test_many_keys_are_fetched_in_one_call(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item(str(n), text="x") for n in range(5000)])

    assert len(fetch_rows(workspace, "c", np.arange(1, 10_001))) == 5000
    assert fetch_rows(workspace, "c", []) == []


def test_texts_come_in_the_order_of_the_keys(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text=LONG)], chunking=Chunking(3))

    contents = segment_texts(workspace, "c", [3, 1])

    assert contents == [Content(Modality.TEXT, "Seven eight nine."), Content(Modality.TEXT, "One two three.")]


def test_the_text_of_a_dead_segment_is_a_key_error(workspace: Workspace) -> None:
    with pytest.raises(KeyError):
        segment_texts(workspace, "c", [7])


def test_only_what_has_no_vector_is_pending(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item(id, text=id) for id in "abcd"])
    encode(workspace, [1, 3])

    found = pending_segments(workspace, "c", "f", limit=100)

    assert found == [(2, Content(text="b")), (4, Content(text="d"))]
    assert [key for key, _ in pending_segments(workspace, "c", "another", limit=2)] == [1, 2]
    assert [key for key, _ in pending_segments(workspace, "c", "another", limit=2, after_key=2)] == [3, 4]


def test_only_the_modalities_that_the_encoder_takes_are_pending(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="x"), Item("b", Modality.IMAGE, uri="b.png")])

    assert pending(workspace) == [1]


def test_changed_content_is_pending_again(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="x")])
    encode(workspace, [1])

    upsert_items(workspace, "c", [Item("a", text="y")])

    assert pending(workspace) == [2]
    assert count_embeddings(workspace, "c", "f") == 0


def test_long_items_are_split_once(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text=LONG), Item("b", text="short")])

    assert split_long_items(workspace, "c", 3) == 1
    assert split_long_items(workspace, "c", 3) == 0
    assert [content.text for _, content in pending_segments(workspace, "c", "f", limit=9)] == [
        "short",
        "One two three.",
        "Four five six.",
        "Seven eight nine.",
    ]
    assert sequence(workspace, "c") == 5


def test_a_superseded_segment_lives_until_it_is_dropped(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text=LONG)])
    encode(workspace, [1])
    split_long_items(workspace, "c", 3)
    encode(workspace, [2, 3, 4])

    assert [row.key for row in fetch_rows(workspace, "c", [1])] == [1]
    assert [keys.tolist() for keys, _ in read_embeddings(workspace, "c", "f")] == [[2, 3, 4]]
    assert drop_superseded_segments(workspace, "c") == 1
    assert fetch_rows(workspace, "c", [1]) == []
    assert drop_superseded_segments(workspace, "c") == 0


def test_many_long_items_are_split(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item(str(n), text=LONG) for n in range(1201)])

    assert split_long_items(workspace, "c", 3, overlap=0) == 1201
    assert len(locate(workspace, "c", np.arange(1, 1201 * 4 + 1))) == 1201 * 4


def test_segments_of_an_unknown_collection_are_not_found(workspace: Workspace) -> None:
    with pytest.raises(CollectionNotFound):
        pending_segments(workspace, "missing", "f", limit=1)


@pytest.mark.parametrize("text", ["中a" * 60, "a " * 120, "é " * 120, "a\n" * 120, "中文" * 60])
def test_every_text_of_more_words_is_split(workspace: Workspace, text: str) -> None:
    upsert_items(workspace, "c", [Item("long", text=text)])

    assert split_long_items(workspace, "c", 119) == 1
    assert split_long_items(workspace, "c", 120) == 0
