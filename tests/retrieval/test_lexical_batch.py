"""BM25 in batches gives what BM25 one by one gives."""

import random

import pytest

from retrieval.collections import create_collection
from retrieval.items import Item, delete_items, upsert_items
from retrieval.lexical_batch import LexicalBatch
from retrieval.text_search import lexical_scores, lexical_search
from retrieval.workspace import Workspace

WORDS = [
    "the",
    "a",
    "of",
    "tower",
    "towers",
    "towering",
    "spire",
    "vector",
    "search",
    "runs",
    "running",
    "köln",
    "naïve",
    "bees",
    "42",
    "don't",
    "émigré",
]
QUERIES = [
    "the tower",
    "who runs, running?",
    "Koln NAIVE emigre",
    "nothing-matches-this zzz",
    "",
    "  ?!  ",
    'AND OR NOT "quoted" NEAR(a b)',
    "猫 がいる",
    "the the the a",
]


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Random short texts, many of them alike, with some items replaced and deleted."""
    rng = random.Random(0)
    items = [Item(f"i{n}", text=" ".join(rng.choices(WORDS, k=rng.randint(1, 12)))) for n in range(400)]
    upsert_items(workspace, "c", [*items, Item("cat", text="猫 がいる and 猫")])
    upsert_items(workspace, "c", [Item("i5", text="another spire entirely")])
    delete_items(workspace, "c", ["i7", "i8"])
    create_collection(workspace, "other")
    upsert_items(workspace, "other", [Item("x", text="the tower in another collection")])
    return workspace


@pytest.mark.parametrize("limit", [1, 10, 1000])
@pytest.mark.parametrize("text", QUERIES)
def test_batched_scores_are_those_of_fts5(text: str, limit: int, filled: Workspace) -> None:
    expected = lexical_search(filled, "c", text, limit)

    found = LexicalBatch(filled, "c").search(["the spire", text], limit)[1]

    assert [hit[:2] for hit in found] == [hit[:2] for hit in expected]
    assert [hit[2] for hit in found] == pytest.approx([hit[2] for hit in expected], rel=1e-12)


def test_an_empty_collection_answers_nothing(workspace: Workspace) -> None:
    assert LexicalBatch(workspace, "c").search(["anything"], 10) == [[]]


def test_long_texts_have_their_true_length(workspace: Workspace) -> None:
    upsert_items(
        workspace, "c", [Item("long", text="tower " * 20_000), Item("short", text="tower of many things")]
    )

    found = LexicalBatch(workspace, "c").search(["tower"], 10)[0]

    expected = lexical_search(workspace, "c", "tower", 10)
    assert [hit[2] for hit in found] == pytest.approx([hit[2] for hit in expected])


def test_no_query_gives_no_answer(filled: Workspace) -> None:
    assert LexicalBatch(filled, "c").search([], 10) == []


def test_given_items_score_as_in_fts5(filled: Workspace) -> None:
    rowids = [3, 4, 9, 401]
    expected = lexical_scores(filled, "c", "the naive tower", rowids)

    found = LexicalBatch(filled, "c").scores(["bees", "the naive tower"], [[1], rowids])[1]

    assert found == pytest.approx([expected.get(rowid, 0.0) for rowid in rowids])
