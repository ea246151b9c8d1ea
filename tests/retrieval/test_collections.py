import numpy as np
import pytest

from retrieval.collections import (
    CollectionCounts,
    collection_names,
    count,
    create_collection,
    delete_collection,
    require_collection,
)
from retrieval.embeddings import count_embeddings, encoder_row, put_embeddings
from retrieval.errors import CollectionNotFound, InvalidInput
from retrieval.items import Item, sequence, upsert_items
from retrieval.judgements import JudgedQuery, judged_queries, put_judged_queries
from retrieval.text_search import lexical_search
from retrieval.workspace import Workspace


def test_creating_a_collection_again_keeps_its_items(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="one")])

    create_collection(workspace, "c")

    assert count(workspace, "c") == CollectionCounts(items=1, segments=1)


def test_collections_are_listed_by_name(workspace: Workspace) -> None:
    create_collection(workspace, "a.b-c_1")

    assert collection_names(workspace) == ["a.b-c_1", "c"]


@pytest.mark.parametrize("name", ["", ".", "-a", "_a", "a/b", "a b", "ä", "a" * 129, "a\n", "..", 'a"'])
def test_a_name_that_could_be_a_path_is_refused(name: str, workspace: Workspace) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_collection(workspace, name)

    assert refused.value.field == "collection"


@pytest.mark.parametrize("name", ["missing", "", "a/b", "C"])
def test_an_unknown_collection_is_named(name: str, workspace: Workspace) -> None:
    with pytest.raises(CollectionNotFound, match=f"'{name}'"):
        require_collection(workspace, name)


@pytest.mark.parametrize("name", ["\ud800", "a\0", "c\0", "é" * 10_000])
def test_no_name_is_too_odd_to_be_unknown(name: str, workspace: Workspace) -> None:
    with pytest.raises(CollectionNotFound) as refused:
        require_collection(workspace, name)

    assert refused.value.metadata["collection"].isascii()


def test_deleting_a_collection_leaves_nothing_of_it_and_all_of_the_others(workspace: Workspace) -> None:
    create_collection(workspace, "other")
    for name in ("c", "other"):
        upsert_items(workspace, name, [Item("a", text="green apples")])
        put_judged_queries(workspace, name, [JudgedQuery("q", "which apples", grades={"a": 1})])
    encoder_row(workspace, "f", 2)
    put_embeddings(workspace, "f", [1, 2], np.eye(2, dtype=np.float32))

    delete_collection(workspace, "c")
    create_collection(workspace, "c")

    assert count(workspace, "c") == CollectionCounts(items=0, segments=0)
    assert judged_queries(workspace, "c") == []
    assert lexical_search(workspace, "c", "apples", 5) == []
    assert count_embeddings(workspace, "other", "f") == 1
    assert [id for _, id, _ in lexical_search(workspace, "other", "apples", 5)] == ["a"]


def test_a_collection_made_anew_gives_out_higher_keys(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="one"), Item("b", text="two")])
    before = sequence(workspace, "c")

    delete_collection(workspace, "c")
    create_collection(workspace, "c")
    upsert_items(workspace, "c", [Item("a", text="one")])

    assert sequence(workspace, "c") > before


@pytest.mark.parametrize("call", [count, delete_collection, sequence, judged_queries])
def test_nothing_is_known_of_an_unknown_collection(call: object, workspace: Workspace) -> None:
    assert callable(call)
    with pytest.raises(CollectionNotFound):
        call(workspace, "missing")
