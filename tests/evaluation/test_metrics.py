"""Metrics: known values, ranks before scores, unanswered queries."""

import pytest

from evaluation.metrics import METRICS, measure
from evaluation.runs import RetrievalRun, ScoredItem
from retrieval.errors import InvalidInput


def run_of(**rankings: list[str]) -> RetrievalRun:
    return RetrievalRun(
        "test",
        {
            query: [ScoredItem(id, 1.0 - place / 100) for place, id in enumerate(ids)]
            for query, ids in rankings.items()
        },
    )


def test_every_metric_of_the_api_is_measured() -> None:
    assert METRICS == (
        "MRR@10",
        "nDCG@10",
        "MAP",
        "Recall@1",
        "Recall@5",
        "Recall@10",
        "Recall@50",
        "Recall@100",
    )


def test_two_relevant_at_ranks_two_and_four() -> None:
    values = measure(run_of(q=["x", "a", "y", "b"]), {"q": {"a": 1, "b": 1}}).means()

    assert values["MRR@10"] == pytest.approx(1 / 2)
    assert values["MAP"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert values["Recall@1"] == 0
    assert values["Recall@5"] == 1


def test_map_counts_every_relevant_item_not_only_the_first() -> None:
    values = measure(run_of(q=["a", "x", "y"]), {"q": {"a": 1, "b": 1}}).means()

    assert values["MRR@10"] == 1
    assert values["MAP"] == pytest.approx(1 / 2)


def test_equal_scores_keep_the_order_of_the_run() -> None:
    tied = RetrievalRun("tied", {"q": [ScoredItem("a", 0.5), ScoredItem("z", 0.5)]})

    assert measure(tied, {"q": {"a": 1}}).means()["MRR@10"] == 1
    assert measure(tied, {"q": {"z": 1}}).means()["MRR@10"] == pytest.approx(1 / 2)


def test_an_unanswered_query_scores_zero_and_still_counts() -> None:
    values = measure(run_of(q=["a"]), {"q": {"a": 1}, "silent": {"b": 1}})

    assert values.query_ids == ("q", "silent")
    assert values.means()["MRR@10"] == pytest.approx(1 / 2)


def test_an_answer_of_no_hits_scores_zero() -> None:
    values = measure(run_of(q=["a"], empty=[]), {"q": {"a": 1}, "empty": {"b": 1}})

    assert values.column("MRR@10").tolist() == [1, 0]


def test_queries_without_a_relevant_item_are_left_out() -> None:
    values = measure(run_of(q=["a"], none=["b"]), {"q": {"a": 1}, "none": {"b": 0}})

    assert values.query_ids == ("q",)


def test_nothing_relevant_at_all_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="nothing can be measured"):
        measure(run_of(q=["a"]), {"q": {"a": 0}})


def test_grades_weigh_in_ndcg() -> None:
    graded = {"q": {"best": 3, "good": 1}}

    best_first = measure(run_of(q=["best", "good"]), graded).means()["nDCG@10"]
    good_first = measure(run_of(q=["good", "best"]), graded).means()["nDCG@10"]

    assert best_first == 1 > good_first


def test_ids_of_any_script_are_measured() -> None:
    values = measure(run_of(q=["naïve 猫", "🎵"]), {"q": {"🎵": 1}})

    assert values.means()["MRR@10"] == pytest.approx(1 / 2)
