"""Evaluations: what is measured, what stands beside it, what is recorded, what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.evaluate import compare_references, evaluate, evaluate_reference, score_foreign_run
from evaluation.metrics import METRICS
from evaluation.results import compare, compare_scores
from evaluation.trec import read_run, write_run
from retrieval.errors import (
    CollectionNotFound,
    EncoderIndexMismatch,
    InvalidInput,
    ModelNotFound,
    ModelNotLoaded,
    VersionNotFound,
)
from retrieval.publishing import list_versions, live_version
from retrieval.registry import list_runs
from retrieval.workspace import Workspace
from tests.evaluation.conftest import COLLECTION, ITEMS, write_encoder


def test_json_has_the_fields_of_the_api(toys: Workspace) -> None:
    body = json.loads(json.dumps(evaluate(toys, COLLECTION, record=False).to_json(), allow_nan=False))

    assert body["n"] == 30
    assert body["corpus"] == ITEMS
    for name in ("metrics", "intervals", "chance", "bm25"):
        assert list(body[name]) == list(METRICS)
    assert body["ann_recall@10"] == 1
    assert all(low <= body["metrics"][name] <= high for name, (low, high) in body["intervals"].items())


def test_a_query_of_an_items_own_words_finds_it(toys: Workspace) -> None:
    result = evaluate(toys, COLLECTION, record=False)

    assert result.scores.metrics["MRR@10"] > 0.8
    assert result.bm25.metrics["MRR@10"] > 0.8
    assert result.scores.metrics["MRR@10"] > 10 * result.chance["MRR@10"]


def test_ranks_are_those_of_the_full_corpus_not_of_the_candidates(toys: Workspace) -> None:
    result = evaluate(toys, COLLECTION, record=False)

    assert all(len(ranking) == 100 for ranking in result.scores.run.rankings.values())


def test_exact_search_tells_what_the_index_costs(toys: Workspace) -> None:
    result = evaluate(toys, COLLECTION, record=False)

    assert result.to_json()["exact"] == result.scores.metrics  # so small an index looks everywhere


def test_hybrid_shows_dense_and_bm25_beside_it(toys: Workspace) -> None:
    result = evaluate(toys, COLLECTION, hybrid=True, record=False)

    assert [system.name for system in result.systems()] == ["hybrid", "dense", "bm25"]
    assert result.to_json()["system"] == "hybrid"
    assert set(result.to_json()["dense"]) == set(METRICS)


def test_reranking_own_candidates_stands_apart_with_its_chance(toys: Workspace) -> None:
    reranking = evaluate(toys, COLLECTION, record=False).reranking

    assert reranking is not None
    assert reranking.queries == 30
    assert 9 <= reranking.candidates <= 10
    assert reranking.chance == pytest.approx(0.2929, abs=0.03)
    assert set(reranking.mrr) == {"dense", "bm25"}
    assert reranking.mrr["dense"] > 0.9


def test_an_encoder_is_measured_by_its_newest_index(toys: Workspace) -> None:
    result = evaluate(toys, COLLECTION, encoder="blunt", record=False)

    assert result.model == "blunt@1"
    assert result.index_version != live_version(toys, COLLECTION)


def test_a_version_is_measured_by_name(toys: Workspace) -> None:
    oldest = list_versions(toys, COLLECTION)[-1].version

    assert evaluate(toys, COLLECTION, version=oldest, record=False).index_version == oldest


def test_comparing_finds_the_better_encoder(toys: Workspace) -> None:
    sharp = evaluate_reference(toys, COLLECTION, "sharp", record=False)
    blunt = evaluate_reference(toys, COLLECTION, "blunt", record=False)

    difference = compare(sharp, blunt).differences["nDCG@10"]

    assert difference.difference > 0
    assert difference.significant
    assert difference.p_value < 0.05


def test_comparing_other_queries_is_refused(toys: Workspace) -> None:
    on_test = evaluate(toys, COLLECTION, "test", record=False)
    on_validation = evaluate(toys, COLLECTION, "validation", record=False)

    with pytest.raises(InvalidInput, match="other queries"):
        compare(on_test, on_validation)


def test_a_run_file_measures_as_what_it_was_written_from(toys: Workspace, tmp_path: Path) -> None:
    ours = evaluate(toys, COLLECTION, record=False)
    write_run(ours.scores.run, tmp_path / "run.trec")

    theirs = score_foreign_run(toys, COLLECTION, read_run(tmp_path / "run.trec"))

    assert theirs.metrics == ours.scores.metrics
    assert compare_scores("ours", ours.scores, "theirs", theirs).differences["MAP"].p_value == 1


def test_an_encoder_is_compared_with_the_run_file_of_another_system(toys: Workspace, tmp_path: Path) -> None:
    blunt = evaluate_reference(toys, COLLECTION, "blunt", record=False)
    file = tmp_path / "other-system.trec"
    write_run(blunt.scores.run, file)

    difference = compare_references(toys, COLLECTION, ("sharp", str(file))).differences["nDCG@10"]

    assert difference.difference > 0
    assert difference.significant


@pytest.mark.parametrize("references", [("sharp", "nosuch"), ("nosuch", "sharp")])
def test_a_misspelt_name_is_told_before_anything_is_measured(
    toys: Workspace, references: tuple[str, str]
) -> None:
    steps: list[str] = []

    with pytest.raises(ModelNotFound):
        compare_references(toys, COLLECTION, references, on_step=steps.append)

    assert steps == []


def test_evaluating_needs_no_torch() -> None:
    code = "import sys, evaluation.evaluate; assert not {'torch', 'grpc', 'scipy'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_same_evaluation_twice_is_the_same(toys: Workspace) -> None:
    one, two = (evaluate(toys, COLLECTION, record=False).to_json() for _ in range(2))

    del one["timings_s"], two["timings_s"]
    assert one == two


def test_a_run_is_recorded_with_all_that_repeats_it(toys: Workspace) -> None:
    result = evaluate(toys, COLLECTION, seed=5)

    run = list_runs(toys, kind="evaluation")[0]
    assert (run.id, run.model, run.seed) == (result.run_id, "sharp@1", 5)
    assert run.data_digest == result.data_digest
    assert run.config["index_version"] == result.index_version
    assert run.metrics["MRR@10"] == result.scores.metrics["MRR@10"]


def test_figures_of_each_query_are_kept_with_the_run(toys: Workspace) -> None:
    result = evaluate(toys, COLLECTION)

    run = list_runs(toys, kind="evaluation")[0]
    kept = json.loads((toys.root / run.artifacts["per_query"]).read_text())
    assert kept["queries"] == list(result.scores.per_query.query_ids)
    values = kept["systems"]["dense"]["MRR@10"]
    assert sum(values) / len(values) == pytest.approx(result.scores.metrics["MRR@10"], abs=1e-5)


def test_details_add_what_the_report_shows(toys: Workspace) -> None:
    result = evaluate(toys, COLLECTION, details=True, record=False)

    assert result.samples is not None
    assert result.samples.relevant.mean() > result.samples.random.mean()
    assert result.hardest[0].metric <= result.hardest[-1].metric


def test_steps_are_told(toys: Workspace) -> None:
    steps: list[str] = []

    evaluate(toys, COLLECTION, record=False, on_step=steps.append)

    assert steps[:4] == ["encode", "search", "exact search", "bm25"]


def test_an_unknown_collection_is_named(toys: Workspace) -> None:
    with pytest.raises(CollectionNotFound, match="nowhere"):
        evaluate(toys, "nowhere")


def test_a_split_without_queries_is_refused(toys: Workspace) -> None:
    with pytest.raises(InvalidInput, match="'train'"):
        evaluate(toys, COLLECTION, "train")


def test_an_unknown_encoder_is_named(toys: Workspace) -> None:
    with pytest.raises(ModelNotFound, match="nobody"):
        evaluate(toys, COLLECTION, encoder="nobody")


def test_an_unknown_version_is_named(toys: Workspace) -> None:
    with pytest.raises(VersionNotFound, match="000099"):
        evaluate(toys, COLLECTION, version="000099-abc")


def test_a_version_of_another_encoder_is_refused(toys: Workspace) -> None:
    version = live_version(toys, COLLECTION) or ""

    with pytest.raises(EncoderIndexMismatch):
        evaluate(toys, COLLECTION, encoder="blunt", version=version)


def test_an_encoder_without_an_index_says_what_to_run(toys: Workspace) -> None:
    write_encoder(toys, "idle", seed=9)

    with pytest.raises(ModelNotLoaded, match="twinspire index toys --encoder idle"):
        evaluate(toys, COLLECTION, encoder="idle")
