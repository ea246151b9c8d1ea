"""Training a two-tower end to end, on a collection that can be learned in a second."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from encoders.loading import load_encoder
from encoders.training.config import TwoTowerConfig
from encoders.training.events import EpochDone, Event, StageStarted, StepDone
from encoders.training.two_tower import train_two_tower
from retrieval.content import Content
from retrieval.errors import InvalidInput
from retrieval.registry import find_model, list_runs, model_folder
from retrieval.workspace import Workspace

Small = Callable[..., TwoTowerConfig]


def test_training_finds_more_than_it_did_before(ws: Workspace, small: Small) -> None:
    card = train_two_tower(ws, "docs", small(corpus_steps=200), name="m")

    assert card.metrics["test.MRR@10"] > card.metrics["zero_shot.test.MRR@10"]


@pytest.mark.parametrize("loss", ["contrastive", "margin_contrastive", "triplet"])
@pytest.mark.parametrize("tower", ["mlp", "rnn", "gru"])
def test_every_tower_learns_under_every_loss(ws: Workspace, small: Small, tower: str, loss: str) -> None:
    losses: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, EpochDone) and event.loss is not None:
            losses.append(event.loss)

    config = small(
        tower=tower, loss=loss, corpus_steps=0, hidden_dims=16, layers=1, epochs=4, patience=0,
        learning_rate=1e-2, shared=False,
    )  # fmt: skip
    card = train_two_tower(ws, "docs", config, name="m", on_progress=listen)

    assert losses[-1] < losses[0]
    assert load_encoder(model_folder(ws, "m", 1)).card.fingerprint == card.fingerprint


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("scheduler", ["cosine", "step", "plateau", "none"])
def test_every_optimiser_and_scheduler_runs(
    ws: Workspace, small: Small, optimizer: str, scheduler: str
) -> None:
    config = small(optimizer=optimizer, scheduler=scheduler, corpus_steps=0, weight_decay=1e-4)

    assert train_two_tower(ws, "docs", config, name="m").metrics["test.MRR@10"] >= 0


def test_the_served_vectors_are_the_trained_ones(ws: Workspace, small: Small) -> None:
    """Recompute a metric from the served encoder: folding the first layer changed nothing."""
    card = train_two_tower(ws, "docs", small(hidden_dims=40, shared=False), name="m")
    encoder = load_encoder(model_folder(ws, "m", 1))
    ids, texts = zip(*ws.fetch("SELECT id, text FROM items ORDER BY rowid"), strict=True)
    vectors = encoder.encode_items([Content(text=text) for text in texts])
    queries = ws.fetch(
        "SELECT text, item_id FROM queries JOIN qrels ON qrels.query = queries.rowid"
        " WHERE split = 'test' AND grade > 0"
    )
    ranks = []
    for text, item in queries:
        scores = (encoder.encode_queries([Content(text=text)]) @ vectors.T)[0]
        ranks.append(int((scores > scores[ids.index(item)]).sum()) + 1)

    mrr = np.mean([1 / rank if rank <= 10 else 0 for rank in ranks])
    assert mrr == pytest.approx(card.metrics["test.MRR@10"], abs=1e-5)


def test_the_same_seed_gives_the_same_bits(ws: Workspace, small: Small) -> None:
    first = train_two_tower(ws, "docs", small(seed=3), name="m")
    second = train_two_tower(ws, "docs", small(seed=3), name="m")
    other = train_two_tower(ws, "docs", small(seed=4), name="m")

    assert (first.version, second.version, other.version) == (1, 2, 3)
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_static_vectors_are_what_training_starts_from(
    ws: Workspace, small: Small, static_vectors: Path
) -> None:
    card = train_two_tower(ws, "docs", small(init=str(static_vectors), dims=None), name="m")

    assert card.dims == 4
    assert str(static_vectors.parent) not in json.dumps(dict(card.training))


def test_cbow_is_trained_on_the_corpus(ws: Workspace, small: Small) -> None:
    config = small(init="cbow", dims=None, cbow_dims=10, cbow_epochs=2, corpus_steps=0, epochs=1)
    first = train_two_tower(ws, "docs", config, name="m")
    second = train_two_tower(ws, "docs", config, name="m")

    assert first.dims == 10
    assert first.fingerprint == second.fingerprint


def test_mined_negatives_come_from_the_given_index(ws: Workspace, small: Small) -> None:
    asked: list[str] = []

    def neighbours(texts: Sequence[str]) -> list[list[str]]:
        asked.extend(texts)
        return [["i0", "i1", "gone"] for _ in texts]

    train_two_tower(ws, "docs", small(corpus_steps=0), name="m", neighbours=neighbours)

    assert len(asked) == 36  # the training queries, and no other


def test_curves_and_run_are_kept(ws: Workspace, small: Small) -> None:
    card = train_two_tower(ws, "docs", small(), name="m")

    curves = json.loads((model_folder(ws, "m", 1) / "training.json").read_text())
    assert [entry["epoch"] for entry in curves["stages"]["questions"]] == [0, 1, 2]
    (run,) = list_runs(ws, kind="train")
    assert run.model == "m@1"
    assert run.metrics == card.metrics
    assert find_model(ws, "m").fingerprint == card.fingerprint


def test_progress_tells_stages_steps_and_epochs(ws: Workspace, small: Small) -> None:
    events: list[Event] = []
    train_two_tower(ws, "docs", small(), name="m", on_progress=events.append)

    stages = [event.stage for event in events if isinstance(event, StageStarted)]
    assert stages == ["read", "vectors", "corpus", "questions", "save"]
    steps = [event.step for event in events if isinstance(event, StepDone) and event.stage == "corpus"]
    assert steps == list(range(1, 51))


def test_nothing_but_the_model_is_left_behind(ws: Workspace, small: Small) -> None:
    train_two_tower(ws, "docs", small(), name="m")

    assert [file.name for file in (ws.models / "m").iterdir()] == ["1"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a@1", "a" * 129])
def test_a_model_name_is_a_folder_name(ws: Workspace, small: Small, name: str) -> None:
    with pytest.raises(InvalidInput, match="model name"):
        train_two_tower(ws, "docs", small(), name=name)


@pytest.mark.parametrize(
    "change",
    [
        {"tower": "lstm"},
        {"loss": "mse"},
        {"optimizer": "lion"},
        {"scheduler": "linear"},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"temperature": -1},
        {"margin": 3},
        {"dropout": 1},
        {"batch_size": 1},
        {"epochs": -1},
        {"dims": 0},
    ],
)
def test_a_config_out_of_range_names_its_field(change: dict[str, object]) -> None:
    (field,) = change
    with pytest.raises(InvalidInput, match=field):
        TwoTowerConfig(**change)  # type: ignore[arg-type]
