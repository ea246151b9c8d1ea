"""Fine-tuning a text encoder: it learns, resumes to the same weights, and holds few texts at once."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from encoders.card import EncoderCard
from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder
from encoders.text.architecture import Architecture
from encoders.text.transformer import Transformer
from encoders.training.events import EpochDone, Event
from encoders.training.objective import PairBatch
from encoders.training.text_config import TextTuningConfig
from encoders.training.text_objective import (
    CorpusBatch,
    CorpusObjective,
    CorpusVectors,
    PairObjective,
    TextTowers,
)
from encoders.training.text_tuning import tune_text
from encoders.two_tower.ragged import RaggedTexts
from indexer.indexing import index_collection
from retrieval.content import Content
from retrieval.errors import FailedPrecondition, IncompatibleModel, InvalidInput
from retrieval.registry import find_model, list_runs
from retrieval.workspace import Workspace
from tests.encoders.conftest import ws
from tests.encoders.text.conftest import CONFIGS, MakePublished

__all__ = ["ws"]
SETTINGS: dict[str, Any] = {
    "encoder": "tiny",
    "epochs": 3,
    "learning_rate": 1e-2,
    "batch_size": 12,
    "texts_at_once": 8,
    "max_tokens": 20,
    "held_out_items": 120,
    "precision": "float32",
}


@pytest.fixture
def tiny(ws: Workspace, make_published: MakePublished) -> EncoderCard:
    """A tiny encoder in the workspace of the documents to learn."""
    return add_encoder(ws, "tiny", make_published(), precision="float32")


def tune(ws: Workspace, *, name: str = "tuned", **changes: Any) -> EncoderCard:
    return tune_text(ws, "docs", TextTuningConfig(**(SETTINGS | changes)), name=name)


def test_both_sides_learn_what_shares_no_word(ws: Workspace, tiny: EncoderCard) -> None:
    metrics = tune(ws, epochs=12, learning_rate=5e-3, patience=0).metrics

    assert metrics["sampled_validation.MRR@10"] > metrics["zero_shot.sampled_validation.MRR@10"] + 0.05


def test_the_query_side_learns_alone_and_the_items_keep_their_vectors(
    ws: Workspace, tiny: EncoderCard
) -> None:
    index_collection(ws, "docs", "tiny", backend="exact")

    card = tune(ws, tuned="query", epochs=10, patience=0, weight_decay=0)

    report = index_collection(ws, "docs", "tuned", backend="exact")
    assert card.metrics["validation.MRR@10"] > card.metrics["zero_shot.validation.MRR@10"] + 0.05
    assert report.encoded == 0
    before, after = (load_encoder(find_model(ws, name).folder) for name in ("tiny", "tuned"))
    contents = [Content(text="w1x2 w1x3")]
    np.testing.assert_array_equal(before.encode_items(contents), after.encode_items(contents))
    assert not np.allclose(before.encode_queries(contents), after.encode_queries(contents))


def test_tuning_the_query_side_alone_needs_the_items_vectors(ws: Workspace, tiny: EncoderCard) -> None:
    with pytest.raises(FailedPrecondition, match="120 of 120 items have no vector of tiny@1"):
        tune(ws, tuned="query")


def test_a_tuned_encoder_is_tuned_further(ws: Workspace, tiny: EncoderCard) -> None:
    index_collection(ws, "docs", "tiny", backend="exact")
    tune(ws, tuned="query", epochs=1)

    card = tune(ws, encoder="tuned", name="further", epochs=1)

    assert card.architecture["shared"] is False
    assert card.training["source"] == "tuned@1"


@pytest.mark.parametrize("tuned", ["both", "query"])
def test_an_interrupted_tuning_ends_in_the_same_weights(tuned: str, ws: Workspace, tiny: EncoderCard) -> None:
    index_collection(ws, "docs", "tiny", backend="exact")
    changes = {"tuned": tuned, "dropout": 0.1}
    whole = tune(ws, name="whole", **changes)

    def stop(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 2:
            raise KeyboardInterrupt

    config = TextTuningConfig(**(SETTINGS | changes))
    with pytest.raises(KeyboardInterrupt):
        tune_text(ws, "docs", config, name="stopped", on_progress=stop)
    resumed = tune_text(ws, "docs", config, name="stopped")

    assert resumed.files == whole.files
    assert resumed.version == 1


def test_a_seed_gives_the_same_weights_again_and_another_one_others(ws: Workspace, tiny: EncoderCard) -> None:
    cards = [tune(ws, name=f"m{number}", epochs=1, seed=seed) for number, seed in enumerate((0, 0, 1))]

    assert cards[0].fingerprint == cards[1].fingerprint != cards[2].fingerprint


def test_mined_negatives_are_asked_for_and_used(ws: Workspace, tiny: EncoderCard) -> None:
    asked: list[str] = []

    def neighbours(texts: Sequence[str]) -> list[list[str]]:
        asked.extend(texts)
        return [["i5", "i6"] for _ in texts]

    config = TextTuningConfig(**(SETTINGS | {"epochs": 1, "own_negatives": 0}))
    mined = tune_text(ws, "docs", config, name="mined", neighbours=neighbours)

    assert len(asked) == 36
    assert mined.fingerprint != tune(ws, epochs=1, own_negatives=0).fingerprint
    with pytest.raises(InvalidInput, match="nothing to mine"):
        tune_text(
            ws, "docs", TextTuningConfig(encoder="tiny", tuned="query"), name="x", neighbours=neighbours
        )


def test_the_run_holds_the_curves(ws: Workspace, tiny: EncoderCard) -> None:
    card = tune(ws, epochs=2)

    (run,) = list_runs(ws, kind="train")
    assert run.model == "tuned@1"
    assert [entry["epoch"] for entry in run.artifacts["curves"]["questions"]] == [0, 1, 2]
    assert run.metrics == dict(card.metrics)


def test_only_text_encoders_are_tuned_so(ws: Workspace, make_folder: Callable[..., Path]) -> None:
    from retrieval.registry import model_folder, register_model

    folder = model_folder(ws, "tower", 1)
    folder.parent.mkdir(parents=True)
    make_folder("mlp").rename(folder)
    fingerprint = load_encoder(folder).card.fingerprint
    register_model(ws, "tower", 1, "two_tower", fingerprint, {})

    with pytest.raises(IncompatibleModel, match="only text encoders"):
        tune(ws, encoder="tower")


def _gradients(texts_at_once: int, dropout: float) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    shape = Architecture.from_config({"model_type": "bert", **CONFIGS["bert"]}, "mean")
    model = Transformer(shape, dropout=dropout)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    towers = TextTowers(model, model, texts_at_once=texts_at_once)
    objective = PairObjective(towers, temperature=0.1, learn_temperature=True).train()
    random = np.random.default_rng(0)
    texts = [
        RaggedTexts.pack([random.integers(4, 40, length) for length in random.integers(2, 15, 12)])
        for _ in ("queries", "items")
    ]
    objective(
        PairBatch(texts[0], texts[1], torch.arange(12), torch.zeros(12, 12, dtype=torch.bool))
    ).backward()
    return {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}


def test_a_large_batch_in_parts_has_the_gradient_of_the_whole() -> None:
    whole, parts = _gradients(100, 0.0), _gradients(5, 0.0)

    assert set(whole) == set(parts)
    assert "log_scale" in whole
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_question_is_weighed_against_the_whole_corpus_and_not_against_its_other_items() -> None:
    shape = Architecture.from_config({"model_type": "bert", **CONFIGS["bert"]}, "mean")
    torch.manual_seed(0)
    model = Transformer(shape)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    towers = TextTowers(model, model, texts_at_once=8)
    vectors = torch.nn.functional.normalize(torch.randn(5, shape.width), dim=1)
    corpus = CorpusVectors(vectors, np.array([0, 0, 1, 2, 3]), np.array([0, 2, 3, 4, 5]))  # item 0 has two
    queries = RaggedTexts.pack([[2, 7, 3]])
    objective = CorpusObjective(towers, corpus, temperature=0.5, learn_temperature=False)

    loss = objective(CorpusBatch(queries, [[0, 2]]))

    odds = torch.exp(2 * towers.encode("query", queries) @ vectors.T)[0]
    wrong = odds[2] + odds[4]
    expected = [-torch.log(right / (right + wrong)) for right in (odds[0] + odds[1], odds[3])]
    torch.testing.assert_close(loss, (expected[0] + expected[1]) / 2)


def test_the_second_pass_drops_out_the_same() -> None:
    one, other = _gradients(5, 0.3), _gradients(5, 0.3)

    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuned": "items"}, "tuned: expected both or query"),
        ({"learning_rate": 0}, "learning_rate: expected more than 0"),
        ({"batch_size": 1}, "batch_size: expected at least 2"),
        ({"precision": "int8"}, "precision: expected one of"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TextTuningConfig(encoder="tiny", **changes)


def test_every_setting_has_an_option_that_tells_its_default() -> None:
    from twinspire.commands.train_text import OPTIONS

    config = TextTuningConfig(encoder="tiny")
    told = {option.field: option.default for option in OPTIONS}

    assert set(told) == {field.name for field in fields(TextTuningConfig)} - {"encoder"}
    assert told | {"learn_temperature": "False", "skip_missing": "False"} == {
        name: str(getattr(config, name)) for name in told
    }
