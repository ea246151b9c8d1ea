"""Data that cannot be trained on is refused before any work."""

from collections.abc import Callable

import pytest

from encoders.training.config import TwoTowerConfig
from encoders.training.two_tower import train_two_tower
from retrieval.collections import create_collection
from retrieval.errors import CollectionNotFound, InvalidTrainingData, UnreadableSource
from retrieval.items import Item, upsert_items
from retrieval.judgements import JudgedQuery, put_judged_queries
from retrieval.registry import list_runs
from retrieval.workspace import Workspace

Small = Callable[..., TwoTowerConfig]
TWO = [JudgedQuery("a", "one", "train", {"i1": 1}), JudgedQuery("b", "two", "train", {"i2": 1})]


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([], "no judged queries"),
        ([JudgedQuery("a", "one", "train", {"i1": 0})], "none of the 1 judged queries"),
        (TWO[:1], "1 query to train on, expected at least 2"),
        ([*TWO, JudgedQuery("c", "three", "train", {"gone": 1})], "1 relevant items are not in .* 'gone'"),
        ([JudgedQuery(q.id, q.text, "test", q.grades) for q in TWO], "none of the 2 judged queries"),
    ],
    ids=["no queries", "no positives", "one query", "unknown ids", "only test queries"],
)
def test_bad_judgements_are_refused(
    ws: Workspace, small: Small, queries: list[JudgedQuery], message: str
) -> None:
    create_collection(ws, "bad")
    upsert_items(ws, "bad", [Item("i1", text="first"), Item("i2", text="second")])
    put_judged_queries(ws, "bad", queries)

    with pytest.raises(InvalidTrainingData, match=message):
        train_two_tower(ws, "bad", small(), name="m")
    assert list_runs(ws) == []
    assert list(ws.models.iterdir()) == []


def test_a_collection_without_texts_is_refused(ws: Workspace, small: Small) -> None:
    create_collection(ws, "empty")
    with pytest.raises(InvalidTrainingData, match="no text items"):
        train_two_tower(ws, "empty", small(), name="m")


def test_an_unknown_collection_is_told(ws: Workspace, small: Small) -> None:
    with pytest.raises(CollectionNotFound):
        train_two_tower(ws, "nowhere", small(), name="m")


def test_missing_word_vectors_are_told_before_any_work(ws: Workspace, small: Small) -> None:
    with pytest.raises(UnreadableSource, match=r"no file of word vectors 'glove\.txt'"):
        train_two_tower(ws, "docs", small(init="nowhere/glove.txt"), name="m")
    assert list_runs(ws) == []


def test_judgements_of_missing_items_can_be_skipped(ws: Workspace, small: Small) -> None:
    put_judged_queries(ws, "docs", [JudgedQuery("z", "zzz", "train", {"gone": 1})])

    train_two_tower(ws, "docs", small(skip_missing=True, corpus_steps=0, epochs=1), name="m")


def test_two_queries_are_enough(ws: Workspace, small: Small) -> None:
    create_collection(ws, "least")
    upsert_items(ws, "least", [Item("i1", text="first"), Item("i2", text="second")])
    put_judged_queries(ws, "least", TWO)

    assert train_two_tower(ws, "least", small(), name="m").version == 1
