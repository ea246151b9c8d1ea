"""The registry of models, runs and jobs."""

from contextlib import suppress

import pytest

from retrieval.errors import Conflict, InvalidInput, ModelNotFound
from retrieval.jobs import start_job
from retrieval.registry import (
    find_model,
    finish_run,
    list_models,
    list_runs,
    model_by_fingerprint,
    model_folder,
    next_model_version,
    register_model,
    start_run,
)
from retrieval.workspace import Workspace


def test_a_model_is_found_by_name_and_version(workspace: Workspace) -> None:
    register_model(workspace, "a", 1, "two_tower", "f1", {})
    register_model(workspace, "a", 2, "two_tower", "f2", {})

    assert find_model(workspace, "a").reference == "a@2"
    assert find_model(workspace, "a@1").fingerprint == "f1"
    assert find_model(workspace, "a@1").folder == workspace.models / "a" / "1"


@pytest.mark.parametrize("reference", ["b", "a@3", "a@x", "a@", "@", ""])
def test_an_unknown_model_is_not_found(workspace: Workspace, reference: str) -> None:
    register_model(workspace, "x", 1, "two_tower", "f1", {})

    with pytest.raises(ModelNotFound):
        find_model(workspace, reference)


def test_a_model_is_found_by_its_fingerprint(workspace: Workspace) -> None:
    register_model(workspace, "a", 1, "two_tower", "f1", {})

    assert model_by_fingerprint(workspace, "f1").reference == "a@1"
    with pytest.raises(ModelNotFound):
        model_by_fingerprint(workspace, "f2")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a@b", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidInput, match="model name"):
        register_model(workspace, name, 1, "two_tower", "f1", {})


def test_a_version_is_never_registered_for_two_models(workspace: Workspace) -> None:
    register_model(workspace, "a", 1, "two_tower", "f1", {})

    with pytest.raises(Conflict):
        register_model(workspace, "a", 1, "two_tower", "f2", {})


def test_registering_again_updates_the_metrics(workspace: Workspace) -> None:
    register_model(workspace, "a", 1, "two_tower", "f1", {"MRR@10": 0.1})

    assert register_model(workspace, "a", 1, "two_tower", "f1", {"MRR@10": 0.2}).metrics == {"MRR@10": 0.2}


def test_the_next_version_counts_folders_too(workspace: Workspace) -> None:
    assert next_model_version(workspace, "a") == 1
    register_model(workspace, "a", 1, "two_tower", "f1", {})
    assert next_model_version(workspace, "a") == 2
    model_folder(workspace, "a", 5).mkdir(parents=True)
    assert next_model_version(workspace, "a") == 6


@pytest.mark.parametrize(
    ("metric", "best_first"),
    [("MRR@10", ["b@1", "a@1", "c@1"]), ("loss", ["a@1", "b@1", "c@1"]), (None, ["c@1", "b@1", "a@1"])],
)
def test_models_are_ranked_in_the_right_direction(
    workspace: Workspace, metric: str | None, best_first: list[str]
) -> None:
    register_model(workspace, "a", 1, "two_tower", "f1", {"MRR@10": 0.1, "loss": 0.1})
    register_model(workspace, "b", 1, "two_tower", "f2", {"MRR@10": 0.2, "loss": 0.2})
    register_model(workspace, "c", 1, "two_tower", "f3", {})

    assert [model.reference for model in list_models(workspace, order_by=metric)] == best_first


def test_ranking_by_an_unknown_metric_is_an_error(workspace: Workspace) -> None:
    register_model(workspace, "a", 1, "two_tower", "f1", {"MRR@10": 0.1})

    with pytest.raises(InvalidInput, match=r"no model has the metric 'MRR': expected one of MRR@10"):
        list_models(workspace, order_by="MRR")


def test_a_run_keeps_what_made_it_and_what_it_gave(workspace: Workspace) -> None:
    run = start_run(workspace, "train", collection="c", config={"epochs": 2}, seed=7, data_digest="d")
    finish_run(workspace, run, metrics={"MRR@10": 0.5}, artifacts={"curve": [3, 2]}, model="a@1")

    (row,) = list_runs(workspace, kind="train")

    assert (row.id, row.model, row.seed, row.config) == (run, "a@1", 7, {"epochs": 2})
    assert (row.metrics, row.artifacts) == ({"MRR@10": 0.5}, {"curve": [3, 2]})
    assert list_runs(workspace, kind="evaluate") == []


def test_an_unfinished_job_is_taken_up(workspace: Workspace) -> None:
    job = start_job(workspace, "import", "c", {"source": "x"})
    job.advance({"line": 10}, {"read": 10})

    again = start_job(workspace, "import", "c", {"source": "x"})

    assert (again.id, again.position, again.counts, again.resumed) == (
        job.id,
        {"line": 10},
        {"read": 10},
        True,
    )


@pytest.mark.parametrize("end", ["finish", "fail"])
def test_an_ended_job_is_not_taken_up(workspace: Workspace, end: str) -> None:
    job = start_job(workspace, "import", "c", {"source": "x"})
    getattr(job, end)()

    assert start_job(workspace, "import", "c", {"source": "x"}).id != job.id


def test_a_job_of_another_spec_is_not_taken_up(workspace: Workspace) -> None:
    job = start_job(workspace, "import", "c", {"source": "x"})

    assert start_job(workspace, "import", "c", {"source": "y"}).id != job.id


def test_progress_is_recorded_with_the_work_or_not_at_all(workspace: Workspace) -> None:
    job = start_job(workspace, "import", "c", {"source": "x"})

    with suppress(ZeroDivisionError), workspace.atomic():
        job.advance(5)
        raise ZeroDivisionError

    assert start_job(workspace, "import", "c", {"source": "x"}).position is None
