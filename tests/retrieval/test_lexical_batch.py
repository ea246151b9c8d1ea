"""BM25 in batches gives what BM25 one by one gives."""

import random

import pytest

from retrieval import bm25, lexical_batch
from retrieval.collections import create_collection
from retrieval.content import Modality
from retrieval.items import Item, delete_items, upsert_items
from retrieval.lexical_batch import MOST_NEW_TOKENS, LexicalBatch
from retrieval.lexical_source import BATCH_FROM, LexicalSource
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


@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_later_is_found_as_if_all_was_read_anew(workspace: Workspace, seed: int) -> None:
    rng = random.Random(seed)

    def some() -> list[Item]:
        numbers = rng.choices(range(60), k=rng.randint(0, 6))
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in numbers]
        return [
            Item(f"i{number}", text=text, attributes={"n": number})
            if text
            else Item(f"i{number}", Modality.IMAGE, uri=f"media://r/{number}")
            for number, text in zip(numbers, texts, strict=True)
        ]

    create_collection(workspace, "c")
    upsert_items(workspace, "c", [*some(), *some()])
    batch: LexicalBatch | None = LexicalBatch(workspace, "c")
    for _ in range(40):
        assert batch is not None
        batch.search([rng.choice(QUERIES)], 5)  # so that some tokens are known before, and some later
        upsert_items(workspace, "c", some())
        delete_items(workspace, "c", [f"i{rng.randrange(60)}" for _ in range(rng.randint(0, 3))])
        batch = batch.after_writes() or LexicalBatch(workspace, "c")

        assert batch.search(QUERIES, 1000) == LexicalBatch(workspace, "c").search(QUERIES, 1000)


def test_a_batch_that_much_was_deleted_from_is_given_up(filled: Workspace) -> None:
    batch = LexicalBatch(filled, "c")
    delete_items(filled, "c", [f"i{n}" for n in range(100)])

    assert batch.after_writes() is None


def test_what_is_read_while_others_write_fits_what_is_known(filled: Workspace) -> None:
    batch = LexicalBatch(filled, "c")
    upsert_items(filled, "c", [Item("late", text="bees and a tower"), Item("i1", text="no insects")])

    assert "late" not in [id for _, id, _ in batch.search(["bees"], 1000)[0]]
    later = batch.after_writes()
    assert later is not None
    assert later.search(["bees", "insects"], 1000) == LexicalBatch(filled, "c").search(
        ["bees", "insects"], 1000
    )


def test_long_new_texts_are_not_cut_into_tokens_between_two_searches(filled: Workspace) -> None:
    batch = LexicalBatch(filled, "c")
    upsert_items(filled, "c", [Item("long", text="tower " * (MOST_NEW_TOKENS + 1))])

    assert batch.after_writes() is None


def test_what_is_held_is_bounded_whatever_is_asked_for(
    filled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = LexicalBatch(filled, "c").search(QUERIES, 1000)
    monkeypatch.setattr(bm25, "_MAX_TERMS", 3)
    monkeypatch.setattr(lexical_batch, "MAX_HELD_BYTES", 2_000)
    source = LexicalSource(filled, "c")

    found = [source.search([text] * BATCH_FROM, 1000, None, 1)[0] for text in QUERIES * 3]

    assert found == expected * 3
    batch = source._in_memory(0, 1)
    assert batch is not None
    assert batch._held_bytes <= 2_000
    assert len(batch._tokens) < 10
