"""Chance levels: the formulas against random rankings that are really drawn."""

import numpy as np
import pytest

from evaluation.chance import chance_levels, reciprocal_rank_by_chance
from evaluation.metrics import METRICS, measure
from evaluation.runs import Qrels, RetrievalRun, ScoredItem

DRAWS = 1500


def simulated(qrels: Qrels, corpus: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    judged, rankings = {}, {}
    for query, grades in qrels.items():
        for draw in range(DRAWS):
            name = f"{query}-{draw}"
            judged[name] = grades
            rankings[name] = [ScoredItem(f"d{place}", 0) for place in rng.permutation(corpus)[:100]]
    return measure(RetrievalRun("random", rankings), judged).means()


@pytest.mark.parametrize("corpus", [12, 150])
@pytest.mark.parametrize("metric", METRICS)
def test_formula_agrees_with_random_rankings(
    metric: str, corpus: int, simulations: dict[int, dict[str, float]]
) -> None:
    assert chance_levels(JUDGED, corpus)[metric] == pytest.approx(
        simulations[corpus][metric], abs=0.02, rel=0.1
    )


JUDGED: Qrels = {"one": {"d0": 1}, "three": {"d0": 3, "d1": 1, "d2": 1, "d3": 0}}


@pytest.fixture(scope="module")
def simulations() -> dict[int, dict[str, float]]:
    return {corpus: simulated(JUDGED, corpus) for corpus in (12, 150)}


def test_ten_candidates_give_the_published_chance_level() -> None:
    assert reciprocal_rank_by_chance(1, 10, 10) == pytest.approx(0.2929, abs=1e-4)


def test_eight_candidates_give_the_published_chance_level() -> None:
    assert reciprocal_rank_by_chance(1, 8, 10) == pytest.approx(0.34, abs=0.001)


def test_two_relevant_among_ten_candidates() -> None:
    # Of the 45 pairs, 10 - r have their first member at rank r.
    by_hand = sum((10 - rank) / 45 / rank for rank in range(1, 10))

    assert reciprocal_rank_by_chance(2, 10, 10) == pytest.approx(by_hand)


def test_everything_relevant_is_found_at_once() -> None:
    assert reciprocal_rank_by_chance(5, 5, 10) == 1


def test_chance_over_a_real_corpus_is_next_to_nothing() -> None:
    levels = chance_levels({"q": {"a": 1, "b": 1}}, 66_635)

    assert levels["MRR@10"] < 0.0001
    assert levels["Recall@100"] == pytest.approx(100 / 66_635)


def test_more_relevant_than_items_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 relevant items among 2"):
        reciprocal_rank_by_chance(3, 2, 10)
