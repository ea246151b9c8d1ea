"""Fine-tuning audio models, on tiny ones with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from encoders.audio.layers import AudioLayers
from encoders.card import EncoderCard
from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder
from encoders.training.audio_finetuning import FinetuningConfig, finetune_audio
from encoders.training.belonging import Belonging
from encoders.training.events import Event, StepDone
from retrieval.collections import create_collection
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel, InvalidInput, InvalidTrainingData
from retrieval.items import Item, upsert_items
from retrieval.media_roots import add_media_root
from retrieval.registry import find_model, model_folder
from retrieval.workspace import Workspace
from tests.encoders.hub_folders import FAMILIES

pytestmark = pytest.mark.slow

RATE = 1000
PITCHES = {"low": 60, "high": 220}
QUICK: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 6,
    "window_s": 0.3,
    "folds": 3,
    "learning_rate": 0.01,
    "keep": "last",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Sounds of two pitches, nearly drowned in noise, and tiny models."""
    base = tmp_path_factory.mktemp("sounds")
    workspace = Workspace(base / "ws", create=True)
    random = np.random.default_rng(0)
    items = []
    for number in range(24):
        label = list(PITCHES)[number % 2]
        wave = np.sin(np.arange(RATE) * 2 * np.pi * PITCHES[label] / RATE + number) * 0.1
        soundfile.write(base / f"{number}.wav", wave + random.normal(size=RATE) * 0.2, RATE)
        items.append(
            Item(f"{number}", Modality.AUDIO, uri=f"media://m/{number}.wav", attributes={"pitch": label})
        )
    create_collection(workspace, "c")
    add_media_root(workspace, "m", base)
    upsert_items(workspace, "c", items)
    for family in ("hubert", "whisper"):
        folder = base / family
        folder.mkdir()
        torch.manual_seed(0)
        FAMILIES[family](folder)
        add_encoder(workspace, family, folder, precision="float32")
    return workspace


def tune(workspace: Workspace, family: str = "hubert", name: str = "tuned", **changes: Any) -> EncoderCard:
    return finetune_audio(
        workspace,
        "c",
        FinetuningConfig(**QUICK | {key: value for key, value in changes.items() if key != "on_progress"}),
        Belonging(labels="pitch"),
        name=name,
        backbone_folder=find_model(workspace, family).folder,
        **{key: value for key, value in changes.items() if key == "on_progress"},
    )


def encoder_of(workspace: Workspace, card: EncoderCard) -> AudioLayers:
    encoder = load_encoder(model_folder(workspace, card.name, card.version))
    assert isinstance(encoder, AudioLayers)
    return encoder


SOUND = [Content(modality=Modality.AUDIO, decoded=np.sin(np.arange(500, dtype=np.float32)))]


@pytest.mark.parametrize("loss", ["contrastive", "classification"])
@pytest.mark.parametrize("family", ["hubert", "whisper"])
def test_the_tuned_model_is_another_one_of_the_same_kind(prepared: Workspace, family: str, loss: str) -> None:
    card = tune(prepared, family, f"{family}-{loss}", loss=loss)

    before = load_encoder(find_model(prepared, family).folder)
    after = encoder_of(prepared, card)
    assert isinstance(before, AudioLayers)
    assert after.card.kind == before.card.kind
    assert after.feature_fingerprint != before.feature_fingerprint
    assert not np.allclose(after.extract(SOUND)[:, 1:], before.extract(SOUND)[:, 1:])
    assert {"zero_shot.MRR", "test.MRR"} <= card.metrics.keys()


def test_where_no_epoch_is_better_the_model_stays_as_it_was(prepared: Workspace) -> None:
    card = tune(prepared, name="same", learning_rate=1e-9, keep="best")

    assert card.fingerprint == find_model(prepared, "hubert").fingerprint


def test_only_the_last_blocks_learn_if_it_is_told_so(prepared: Workspace) -> None:
    card = tune(prepared, name="last", trained_blocks=1)

    before = load_encoder(find_model(prepared, "hubert").folder)
    assert isinstance(before, AudioLayers)
    old, new = before.extract(SOUND)[0], encoder_of(prepared, card).extract(SOUND)[0]
    np.testing.assert_allclose(new[:2], old[:2], atol=1e-6)  # what enters the first block, and leaves it
    assert not np.allclose(new[2], old[2], atol=1e-4)


class Killed(Exception):
    """Stands for a kill."""


def test_killed_and_run_again_it_ends_with_the_same_weights(prepared: Workspace) -> None:
    whole = tune(prepared, name="whole")

    def kill(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == event.steps:
            raise Killed

    with pytest.raises(Killed):
        tune(prepared, name="again", on_progress=kill)

    assert tune(prepared, name="again").fingerprint == whole.fingerprint


def test_a_model_of_another_kind_is_refused(prepared: Workspace) -> None:
    with pytest.raises(IncompatibleModel, match="expected audio_layers"):
        finetune_audio(
            prepared,
            "c",
            FinetuningConfig(),
            Belonging(labels="pitch"),
            name="x",
            backbone_folder=_two_tower(prepared),
        )


def _two_tower(workspace: Workspace) -> Path:
    from encoders.artifacts import write_model

    folder = workspace.models / "other" / "1"
    write_model(
        folder,
        EncoderCard(kind="two_tower", name="other", version=1, modalities=("text",), dims=2, max_words=0),
        {},
    )
    return folder


def test_pairs_are_no_classes(prepared: Workspace) -> None:
    with pytest.raises(InvalidTrainingData, match="pairs are no classes"):
        finetune_audio(
            prepared,
            "c",
            FinetuningConfig(loss="classification"),
            Belonging(pairs=[("0", "2")]),
            name="x",
            backbone_folder=find_model(prepared, "hubert").folder,
        )


@pytest.mark.parametrize(
    "wrong", [{"loss": "mse"}, {"keep": "first"}, {"epochs": 0}, {"window_s": 0.0}, {"learning_rate": -1.0}]
)
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        FinetuningConfig(**wrong)
