"""Queries that are alike are answered as those are that come alone, only faster."""

import numpy as np
import pytest

from retrieval.errors import DimensionMismatch
from retrieval.items import Item, delete_items
from retrieval.search import SearchParams, SearchResult, VectorQuery
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace
from tests.retrieval.searching import DIMS, build, direction, put, put_items
from tests.vectors import unit_rows

QUERIES = unit_rows(40, DIMS, seed=5)


def alike(searcher: Searcher, limit: int, params: SearchParams) -> list[list[tuple[str, float]]]:
    answer = searcher.search_alike(QUERIES, limit, params)
    answers: list[list[tuple[str, float]]] = [[] for _ in QUERIES]
    for number, place in enumerate(answer.regular):
        rows = answer.rows[number * limit : (number + 1) * limit]
        found = zip(rows, answer.scores[number].tolist(), strict=True)
        answers[place] = [(row.id, score) for row, score in found]
    for place, other in answer.others.items():
        assert isinstance(other, SearchResult)
        answers[place] = [(hit.id, hit.score) for hit in other.hits]
    return answers


def one_by_one(searcher: Searcher, limit: int, params: SearchParams) -> list[list[tuple[str, float]]]:
    queries = [VectorQuery(vector=vector, limit=limit, params=params) for vector in QUERIES]
    results = [result for result in searcher.search(queries) if isinstance(result, SearchResult)]
    return [[(hit.id, hit.score) for hit in result.hits] for result in results]


@pytest.fixture
def searcher(workspace: Workspace) -> Searcher:
    """A searcher over items of which some tie, some are gone, and some came after the build."""
    put(workspace, *(f"i{number:03}" for number in range(120)))
    put_items(workspace, [Item(f"twin{number}", text=f"same {number // 3}") for number in range(60)])
    made = build(workspace, kind="hnsw")
    delete_items(workspace, "c", [f"i{number:03}" for number in range(0, 120, 9)])
    put(workspace, *(f"new{number}" for number in range(20)))
    made.refresh()
    return made


@pytest.mark.parametrize("limit", [1, 3, 10, 500])
@pytest.mark.parametrize("exact", [False, True])
def test_the_answers_are_the_same(searcher: Searcher, limit: int, exact: bool) -> None:
    params = SearchParams(exact=exact, effort=300)

    assert alike(searcher, limit, params) == one_by_one(searcher, limit, params)


def test_some_are_answered_as_arrays_and_some_need_a_closer_look(searcher: Searcher) -> None:
    answer = searcher.search_alike(QUERIES, 2, SearchParams(effort=300))

    assert len(answer.regular) > 5
    assert len(answer.others) > 5
    assert answer.scores.shape == (len(answer.regular), 2)


def test_items_of_several_segments_are_shown_once(workspace: Workspace) -> None:
    put(workspace, *"abcdef")
    made = build(workspace)
    put(workspace, "a", text="another text")  # a fresh segment beside the dead one
    made.refresh()

    assert alike(made, 4, SearchParams()) == one_by_one(made, 4, SearchParams())


def test_what_was_written_meanwhile_is_found(workspace: Workspace) -> None:
    put(workspace, *"abcdef")
    made = build(workspace)
    made.search_alike(QUERIES, 1, SearchParams())
    put(workspace, "new", text="something new")

    answer = made.search_alike(direction("something new")[None], 1, SearchParams())

    assert [row.id for row in answer.rows] == ["new"]


def test_vectors_of_another_width_are_refused(workspace: Workspace) -> None:
    put(workspace, "a")

    with pytest.raises(DimensionMismatch):
        build(workspace).search_alike(np.eye(DIMS + 1, dtype=np.float32), 1, SearchParams())
