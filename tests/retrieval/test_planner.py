"""Filtered search: the plan, and the recall that it keeps at every selectivity."""

from collections.abc import Iterator

import numpy as np
import pytest

from retrieval.index import Index
from retrieval.index_build import build_index, open_index_files
from retrieval.index_types import choose_parameters
from retrieval.planner import plan_filtered
from tests.vectors import Chosen, unit_rows

COUNT, DIMS = 8000, 24


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Build a graph at its default recall target."""
    folder = tmp_path_factory.mktemp("graph")
    parameters = choose_parameters(COUNT, DIMS, overrides={"kind": "hnsw", "storage": "f16", "m": 16})
    batch = (np.arange(1, COUNT + 1), unit_rows(COUNT, DIMS))
    built = build_index(folder, [batch], DIMS, parameters, unit_rows(400, DIMS, seed=1))
    index = open_index_files(folder, built.parameters)
    yield index
    index.close()


def plan(matching: int, **given: int) -> str:
    values = {"queries": 1, "count": 200_000, "limit": 10, "effort": 110} | given
    return plan_filtered(matching=matching, approximate=True, **values).text


def test_few_matches_are_scanned() -> None:
    assert plan(2_000) == "exact scan of the 2000 rows that match"


def test_many_matches_are_found_by_fetching_more() -> None:
    assert plan(100_000) == "32 nearest of all, less those that do not match (50.0% match)"


def test_a_batch_is_scanned_together_sooner_than_a_single_query() -> None:
    assert plan(20_000).startswith("175 nearest")
    assert plan(20_000, queries=64).startswith("exact scan")


def test_a_limit_beyond_the_matches_is_scanned() -> None:
    assert plan(150_000, limit=150_000).startswith("exact scan")


def test_no_match_is_scanned() -> None:
    assert plan(0).startswith("exact scan")


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("region", [False, True], ids=["anywhere", "one region"])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_filtered_search_keeps_its_recall(graph: Index, share: float, region: bool, batch: int) -> None:
    matching = int(COUNT * share)
    vectors = unit_rows(COUNT, DIMS)
    if region:
        positions = np.argsort(-(vectors @ vectors[0]))[:matching]
    else:
        positions = np.random.default_rng(5).permutation(COUNT)[:matching]
    selection = Chosen(np.sort(graph.keys[positions]))
    queries = unit_rows(100, DIMS, seed=7)

    true = graph.search(queries, 10, selection=selection, exact=True).keys
    found = np.concatenate(
        [
            graph.search(queries[at : at + batch], 10, selection=selection).keys
            for at in range(0, len(queries), batch)
        ]
    )

    shared = [len(set(a) & set(b)) / len(set(b)) for a, b in zip(found.tolist(), true.tolist(), strict=True)]
    assert np.mean(shared) >= 0.95
    assert np.isin(found[found >= 0], selection.keys).all()
