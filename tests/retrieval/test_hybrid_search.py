"""Searches by words and by vectors together."""

import numpy as np
import pytest

from retrieval.filters import Filter, Range
from retrieval.fusion import LearnedFusion
from retrieval.items import Item, upsert_items
from retrieval.search import LinearFusion, RrfFusion, ScoreKind, SearchResult, VectorQuery
from retrieval.text_search import lexical_search
from retrieval.workspace import Workspace
from tests.retrieval.searching import East, ask, build, direction, ids, put, put_items, spread


def test_a_hybrid_search_finds_by_words_and_by_vector(workspace: Workspace) -> None:
    places = {"apple": (1.0, 0.0), "pear": (0.9, 0.1), "stone": (0.0, 1.0)}
    for id in places:
        put(workspace, id, text=f"{id} thing", embed=spread(places))
    searcher = build(workspace)

    result = ask(searcher, East, lexical_text="stone", fusion=LinearFusion(alpha=0.4))

    assert ids(result) == ["stone", "apple", "pear"]
    assert result.score_kind is ScoreKind.FUSED


@pytest.mark.parametrize("fusion", [RrfFusion(), LinearFusion(alpha=0.5), LinearFusion()])
def test_each_fusion_puts_first_what_both_sides_prefer(
    workspace: Workspace, fusion: RrfFusion | LinearFusion
) -> None:
    places = {"apple": (1.0, 0.0), "pear": (0.5, 0.5), "stone": (0.0, 1.0)}
    for id in places:
        put(workspace, id, text=f"{id} thing", embed=spread(places))

    assert ids(ask(build(workspace), East, lexical_text="apple", fusion=fusion))[0] == "apple"


def test_weight_zero_gives_the_order_of_bm25(workspace: Workspace) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(12)]
    put_items(workspace, [Item(f"{n:02}", text=" ".join(rng.choice(words, 6))) for n in range(60)])
    searcher = build(workspace)
    searcher.fusion = LearnedFusion(0.0)

    for text in ("w1", "w2 w3", "w4 w5 w6 w7"):
        expected = [id for _, id, _ in lexical_search(workspace, "c", text, 10)]
        assert ids(ask(searcher, East, lexical_text=text)) == expected


def test_words_score_the_same_in_a_large_batch_as_alone(workspace: Workspace) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(12)]
    put_items(workspace, [Item(f"{n:02}", text=" ".join(rng.choice(words, 6))) for n in range(60)])
    queries = [VectorQuery(vector=East, lexical_text=" ".join(rng.choice(words, 3))) for _ in range(40)]

    alone = [ask(build(workspace), East, lexical_text=query.lexical_text) for query in queries[:5]]
    batch = build(workspace).search(queries)[:5]

    for one, many in zip(alone, batch, strict=True):
        assert isinstance(many, SearchResult)
        assert ids(one) == ids(many)


def test_a_hybrid_search_obeys_filter_limit_and_exclusions(workspace: Workspace) -> None:
    put_items(workspace, [Item(f"{n:02}", text=f"word {n}", attributes={"number": n}) for n in range(30)])
    searcher = build(workspace)

    result = ask(
        searcher,
        East,
        lexical_text="word",
        limit=5,
        filter=Filter(must=(Range(attribute="number", lt=8),)),
        exclude_ids=frozenset(["01", "02"]),
    )

    assert len(result.hits) == 5
    assert set(ids(result)) <= {"00", "03", "04", "05", "06", "07"}


def test_a_hybrid_search_without_a_known_word_is_a_vector_search(workspace: Workspace) -> None:
    put(workspace, *"abcdef")
    searcher = build(workspace)

    assert ids(ask(searcher, East, lexical_text="zzz")) == ids(ask(searcher, East))


def test_a_hybrid_search_finds_items_that_have_no_vector_yet(workspace: Workspace) -> None:
    put(workspace, "a")
    searcher = build(workspace)
    upsert_items(workspace, "c", [Item("b", text="unencoded")])

    assert set(ids(ask(searcher, East, lexical_text="unencoded"))) == {"a", "b"}


def test_a_hybrid_hit_explains_both_sides(workspace: Workspace) -> None:
    put(workspace, "a", text="apple")

    (hit,) = ask(build(workspace), East, lexical_text="apple", explain=True).hits

    assert hit.explanation is not None
    assert hit.explanation["bm25"] != 0
    assert hit.explanation["cosine"] == pytest.approx(float(direction("apple")[0]), abs=1e-5)
    assert hit.explanation["fused"] == hit.score


def test_hybrid_and_vector_queries_share_a_batch(workspace: Workspace) -> None:
    put(workspace, *"abc")

    outcomes = build(workspace).search([VectorQuery(vector=East), VectorQuery(vector=East, lexical_text="a")])

    kinds = [o.score_kind for o in outcomes if isinstance(o, SearchResult)]
    assert kinds == [ScoreKind.COSINE, ScoreKind.FUSED]
