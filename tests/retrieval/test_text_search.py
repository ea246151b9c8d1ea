import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.collections import create_collection
from retrieval.errors import CollectionNotFound
from retrieval.filter_sql import compile_filter
from retrieval.filters import Filter, Match
from retrieval.items import Item, upsert_items
from retrieval.text_search import lexical_scores, lexical_search
from retrieval.workspace import Workspace


def put(ws: Workspace, texts: dict[str, str], collection: str = "c") -> None:
    upsert_items(ws, collection, [Item(id, text=text) for id, text in texts.items()])


def found(ws: Workspace, text: str, limit: int = 10) -> list[str]:
    return [id for _, id, _ in lexical_search(ws, "c", text, limit)]


def test_more_and_rarer_terms_rank_first(workspace: Workspace) -> None:
    filler = {f"filler {n}": "the river runs" for n in range(5)}
    put(
        workspace,
        {"both": "the otter river", "rare": "an otter sleeps", "common": "a river sleeps", **filler},
    )

    assert found(workspace, "otter river")[:2] == ["both", "rare"]


def test_words_are_found_by_their_stem_and_without_accents(workspace: Workspace) -> None:
    put(workspace, {"a": "Running in Zürich"})

    assert found(workspace, "who runs?") == ["a"]
    assert found(workspace, "ZURICH") == ["a"]
    assert found(workspace, "Zu\u0308rich") == ["a"]


def test_equal_scores_are_ordered_by_id(workspace: Workspace) -> None:
    put(workspace, dict.fromkeys(["b", "é", "a", "c"], "same text"))

    assert found(workspace, "text", limit=3) == ["a", "b", "c"]


def test_scores_are_higher_for_better_and_do_not_depend_on_the_limit(workspace: Workspace) -> None:
    put(workspace, {"a": "otter", "b": "otter and more words", "c": "nothing"})

    hits = lexical_search(workspace, "c", "otter", 10)

    assert hits[0][2] > hits[1][2] > 0
    assert lexical_search(workspace, "c", "otter", 1) == hits[:1]


def test_another_collection_does_not_change_a_score(workspace: Workspace) -> None:
    put(workspace, {"a": "otter", "b": "river"})
    before = lexical_search(workspace, "c", "otter", 5)

    create_collection(workspace, "other")
    put(workspace, {str(n): "otter otter" for n in range(50)}, "other")

    assert lexical_search(workspace, "c", "otter", 5) == before


def test_a_filter_restricts_the_hits(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item(str(n), text="otter", attributes={"n": n % 3}) for n in range(9)])
    allowed = compile_filter(Filter(must=(Match("n", (1,)),)))

    hits = lexical_search(workspace, "c", "otter", 10, allowed=allowed)

    assert [id for _, id, _ in hits] == ["1", "4", "7"]


def test_given_items_score_as_in_a_search(workspace: Workspace) -> None:
    put(workspace, {"a": "otter river", "b": "otter", "c": "nothing"})

    scores = lexical_scores(workspace, "c", "the otter river", [1, 3, 77])

    assert scores == {
        rowid: score for rowid, id, score in lexical_search(workspace, "c", "otter river", 9) if id == "a"
    }


def test_stop_words_count_when_there_is_nothing_else(workspace: Workspace) -> None:
    put(workspace, {"a": "The Who", "b": "Queen"})

    assert found(workspace, "the who") == ["a"]
    assert found(workspace, "the queen") == ["b"]


@pytest.mark.parametrize("text", ["", "  ", "?!", '"', "***", "\0", "()", "_", "-", "😀", "\ud800"])
def test_a_text_without_words_finds_nothing(text: str, workspace: Workspace) -> None:
    put(workspace, {"a": "otter"})

    assert found(workspace, text) == []
    assert lexical_scores(workspace, "c", text, [1]) == {}


@pytest.mark.parametrize(
    "text",
    [
        'otter"',
        "otter*",
        "text:otter",
        "NEAR(otter)",
        "NOT otter",
        "otter AND",
        "^otter",
        "{otter}",
        "-otter",
        "'otter",
    ],
)
def test_a_text_is_never_read_as_a_query_language(text: str, workspace: Workspace) -> None:
    put(workspace, {"a": "otter"})

    assert found(workspace, text) == ["a"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=100))
def test_any_text_is_searched(text: str, workspace: Workspace) -> None:
    assert lexical_search(workspace, "c", text, 5) == []


def test_a_very_long_text_is_searched(workspace: Workspace) -> None:
    put(workspace, {"a": "otter"})

    assert found(workspace, "otter " + " ".join(f"word{n}" for n in range(20_000))) == ["a"]


def test_an_unknown_collection_is_not_found(workspace: Workspace) -> None:
    with pytest.raises(CollectionNotFound):
        lexical_search(workspace, "missing", "x", 5)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """4,000 texts whose words are as unevenly frequent as in a language."""
    rng = random.Random(1)
    words = [f"word{n}" for n in range(2000)]
    weights = [1 / (n + 1) for n in range(2000)]
    with Workspace(tmp_path_factory.mktemp("large"), create=True) as ws:
        create_collection(ws, "c")
        put(ws, {str(n): " ".join(rng.choices(words, weights, k=30)) for n in range(4000)})
        yield ws


@pytest.mark.parametrize(
    "query", ["word0 word7 word900", "word0 word1 word2", "word1500", "word0 word1999 missing"]
)
def test_the_candidates_of_the_rarer_terms_hold_the_best_hits(query: str, large: Workspace) -> None:
    best = lexical_search(large, "c", query, 10, exact=True)

    hits = lexical_search(large, "c", query, 10)

    assert [hit[1] for hit in hits[:3]] == [hit[1] for hit in best[:3]]
    assert len(hits) == 10
    exact_scores = lexical_scores(large, "c", query, [rowid for rowid, _, _ in hits])
    assert {rowid: score for rowid, _, score in hits} == pytest.approx(exact_scores)
