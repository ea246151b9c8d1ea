"""The searcher: an index version, and the rows that it stands for."""

from typing import Any

import numpy as np
import pytest

from retrieval.errors import (
    DimensionMismatch,
    InvalidFilter,
    InvalidInput,
    InvalidLimit,
    NonFiniteVector,
    ZeroVector,
)
from retrieval.filters import Filter, Match
from retrieval.items import Item, upsert_items
from retrieval.search import (
    Diversity,
    LinearFusion,
    RrfFusion,
    ScoreKind,
    SearchParams,
    SearchResult,
    VectorQuery,
)
from retrieval.segments import parse_chunking
from retrieval.workspace import Workspace
from tests.retrieval.searching import (
    DIMS,
    East,
    North,
    ask,
    at,
    build,
    direction,
    embed_pending,
    ids,
    put,
    spread,
)
from tests.vectors import unit_rows


def test_a_hit_shows_its_item(workspace: Workspace, kind: str) -> None:
    put(workspace, "a", text="hello", year=1990)

    (hit,) = ask(build(workspace, kind=kind), direction("hello")).hits

    assert (hit.id, hit.rank, hit.modality, hit.text, hit.uri) == ("a", 1, "text", "hello", "")
    assert hit.attributes == {"year": 1990}
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert (hit.span, hit.vector, hit.explanation) == (None, None, None)


def test_scores_are_cosines(workspace: Workspace, kind: str) -> None:
    put(workspace, *"abcdef")

    result = ask(build(workspace, kind=kind, storage="f32"), direction("text a"))

    expected = {id: float(direction("text a") @ direction(f"text {id}")) for id in "abcdef"}
    assert {hit.id: hit.score for hit in result.hits} == pytest.approx(expected, abs=1e-5)
    assert result.score_kind is ScoreKind.COSINE


def test_a_limit_beyond_the_count_gives_fewer_hits(workspace: Workspace, kind: str) -> None:
    put(workspace, "a", "b")

    assert len(ask(build(workspace, kind=kind), East, limit=1000).hits) == 2


def test_an_empty_index_gives_no_hits(workspace: Workspace, kind: str) -> None:
    assert ask(build(workspace, kind=kind), East).hits == []


def test_ties_break_by_id(workspace: Workspace) -> None:
    put(workspace, "d", "b", "é", "a", "Z", "c", text="same")

    assert ids(ask(build(workspace), East)) == ["Z", "a", "b", "c", "d", "é"]


def test_ties_break_by_id_between_indexed_and_fresh(workspace: Workspace) -> None:
    put(workspace, "b", "d", text="same")
    searcher = build(workspace)
    put(workspace, "a", "c", text="same")
    searcher.refresh()

    assert ids(ask(searcher, East)) == ["a", "b", "c", "d"]


def test_ties_at_the_limit_break_by_id(workspace: Workspace, kind: str) -> None:
    put(workspace, *(f"{number:02}" for number in reversed(range(40))), text="same")

    assert ids(ask(build(workspace, kind=kind), East, limit=3)) == ["00", "01", "02"]


def test_one_bad_query_fails_alone(workspace: Workspace) -> None:
    put(workspace, "a", "b")
    bad = np.full(DIMS, np.nan, dtype=np.float32)

    first, second, third = build(workspace).search(
        [VectorQuery(vector=East), VectorQuery(vector=bad), VectorQuery(vector=North)]
    )

    assert isinstance(first, SearchResult)
    assert isinstance(second, NonFiniteVector)
    assert isinstance(third, SearchResult)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"vector": np.full(DIMS, np.inf, dtype=np.float32)}, NonFiniteVector),
        ({"vector": np.zeros(DIMS, dtype=np.float32)}, ZeroVector),
        ({"vector": np.ones(DIMS, dtype=np.float32)}, InvalidInput),
        ({"vector": np.ones(DIMS + 1, dtype=np.float32)}, DimensionMismatch),
        ({"vector": East, "limit": 0}, InvalidLimit),
        ({"vector": East, "limit": -1}, InvalidLimit),
        ({"vector": East, "limit": 1001}, InvalidLimit),
        ({"vector": East, "filter": Filter(must=(Match("", ("x",)),))}, InvalidFilter),
        ({"vector": East, "score_threshold": float("nan")}, InvalidInput),
        ({"vector": East, "params": SearchParams(effort=-1)}, InvalidInput),
        ({"vector": East, "params": SearchParams(effort=1 << 30)}, InvalidInput),
        ({"vector": East, "params": SearchParams(oversampling=float("inf"))}, InvalidInput),
        ({"vector": East, "params": SearchParams(oversampling=float("nan"))}, InvalidInput),
        ({"vector": East, "diversity": Diversity(weight=1.1)}, InvalidInput),
        ({"vector": East, "diversity": Diversity(candidates=-1)}, InvalidInput),
        ({"vector": East, "lexical_text": "x", "fusion": LinearFusion(alpha=2)}, InvalidInput),
        ({"vector": East, "lexical_text": "x", "fusion": RrfFusion(k=float("nan"))}, InvalidInput),
    ],
)
def test_a_bad_query_is_refused(
    workspace: Workspace, options: dict[str, Any], error: type[Exception]
) -> None:
    put(workspace, "a")

    (outcome,) = build(workspace).search([VectorQuery(**options)])

    assert type(outcome) is error


def test_no_queries_give_no_answers(workspace: Workspace) -> None:
    assert build(workspace).search([]) == []


def test_queries_of_different_limits_share_a_batch(workspace: Workspace) -> None:
    put(workspace, *"abcdef")
    searcher = build(workspace)

    outcomes = searcher.search([VectorQuery(vector=East, limit=limit) for limit in (1, 5, 3)])

    assert [len(o.hits) for o in outcomes if isinstance(o, SearchResult)] == [1, 5, 3]


def test_a_batch_answers_as_single_queries_do(workspace: Workspace, kind: str) -> None:
    put(workspace, *(f"item {number}" for number in range(200)))
    searcher = build(workspace, kind=kind)
    queries = unit_rows(40, DIMS, seed=5)

    batch = searcher.search([VectorQuery(vector=query) for query in queries])

    for query, outcome in zip(queries, batch, strict=True):
        assert isinstance(outcome, SearchResult)
        alone = ask(searcher, query)
        assert ids(outcome) == ids(alone)
        assert [hit.score for hit in outcome.hits] == pytest.approx(
            [hit.score for hit in alone.hits], abs=3e-6
        )


def test_segments_of_one_item_make_one_hit_with_the_best_span(workspace: Workspace) -> None:
    text = "east. north."
    upsert_items(workspace, "c", [Item("a", text=text)], chunking=parse_chunking("1:0"))
    places = {"east.": (1.0, 0.0), "north.": (0.0, 1.0)}
    embed_pending(workspace, spread(places))
    searcher = build(workspace)

    (hit,) = ask(searcher, at(0.2, 1.0)).hits

    assert hit.id == "a"
    assert hit.span is not None
    assert text[int(hit.span[0]) : int(hit.span[1])].strip() == "north."


def test_many_segments_of_one_item_do_not_hide_others(workspace: Workspace, kind: str) -> None:
    upsert_items(workspace, "c", [Item("long", text="near. " * 60)], chunking=parse_chunking("1:0"))
    upsert_items(workspace, "c", [Item(f"far {n}", text=f"far{n}") for n in range(5)])
    places = {"near.": (1.0, 0.0)} | {f"far{n}": (1.0, 1.0 + n) for n in range(5)}
    embed_pending(workspace, spread(places))

    assert ids(ask(build(workspace, kind=kind), East, limit=4)) == ["long", "far 0", "far 1", "far 2"]


def test_a_threshold_cuts_the_hits_off(workspace: Workspace, kind: str) -> None:
    put(workspace, *(f"{number}" for number in range(50)))
    searcher = build(workspace, kind=kind)
    scores = [hit.score for hit in ask(searcher, East, limit=50).hits]

    result = ask(searcher, East, limit=50, score_threshold=scores[7])

    assert [hit.score for hit in result.hits] == scores[:8]


def test_vectors_come_with_the_hits_when_asked_for(workspace: Workspace) -> None:
    put(workspace, "a")
    searcher = build(workspace)
    put(workspace, "b")
    searcher.refresh()

    for hit in ask(searcher, East, with_vector=True).hits:
        assert hit.vector is not None
        assert np.abs(hit.vector - direction(f"text {hit.id}")).max() < 1e-6


def test_a_mask_picks_attributes(workspace: Workspace) -> None:
    put(workspace, "a", year=1990, genre="x")

    assert ask(build(workspace), East, attribute_mask=("year", "none")).hits[0].attributes == {"year": 1990}
    assert ask(build(workspace), East, attribute_mask=()).hits[0].attributes == {}


def test_explain_tells_how_a_hit_came_about(workspace: Workspace) -> None:
    put(workspace, "a")
    searcher = build(workspace)
    put(workspace, "b")
    searcher.refresh()

    hits = ask(searcher, direction("text a"), explain=True).hits

    told = {hit.id: hit.explanation for hit in hits}
    assert told["a"] is not None
    assert told["b"] is not None
    assert told["a"]["index_version"] == searcher.version
    assert told["a"]["cosine"] == pytest.approx(1.0, abs=1e-5)
    assert (told["a"]["fresh"], told["b"]["fresh"]) == (False, True)


def test_exact_search_finds_the_true_neighbours(workspace: Workspace) -> None:
    put(workspace, *(f"{number}" for number in range(300)))
    approximate, exact = build(workspace, kind="hnsw", effort=1, m=4), build(workspace, kind="flat")

    for query in unit_rows(10, DIMS, seed=9):
        wanted = ids(ask(exact, query))
        assert ids(ask(approximate, query, params=SearchParams(exact=True))) == wanted


def test_diverse_hits_are_unlike_each_other(workspace: Workspace) -> None:
    places = {"best": (1.0, 0.1), "twin": (1.0, 0.11), "other": (1.0, -0.9)}
    for id in places:
        put(workspace, id, text=id, embed=spread(places))
    searcher = build(workspace)

    assert ids(ask(searcher, East, limit=2)) == ["best", "twin"]
    assert ids(ask(searcher, East, limit=2, diversity=Diversity(weight=0.5))) == ["best", "other"]
