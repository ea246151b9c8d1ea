"""Training a layer fusion on stored features."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.encoder import LayeredEncoder
from encoders.loading import load_encoder
from encoders.training.belonging import Belonging, deal_folds
from encoders.training.events import EpochDone, Event
from encoders.training.fusion_config import LayerFusionConfig
from encoders.training.fusion_data import read_fusion_data
from encoders.training.layer_fusion import LayerFusionReport, train_layer_fusion
from retrieval.errors import InvalidInput, InvalidTrainingData
from retrieval.registry import find_model, list_runs
from retrieval.workspace import Workspace
from tests.encoders.layer_fusion.conftest import StoreSounds
from tests.encoders.layer_fusion.small import SmallFrozen, Sound, features_of, quick, sounds

BY_COLOUR = Belonging(labels="colour", group_by="work")


@pytest.fixture
def train(workspace: Workspace, backbone: SmallFrozen, backbone_folder: Path) -> Any:
    def run(
        config: LayerFusionConfig | None = None, belonging: Belonging = BY_COLOUR, **others: Any
    ) -> LayerFusionReport:
        return train_layer_fusion(
            workspace,
            "c",
            config or quick(),
            belonging,
            name="fused",
            backbone=backbone,
            backbone_folder=backbone_folder,
            **others,
        )

    return run


@pytest.mark.parametrize("fusion", ["attention", "weights", "mlp"])
@pytest.mark.parametrize("loss", ["infonce", "triplet"])
def test_what_was_learned_beats_the_average_of_layers(
    stored: StoreSounds, train: Any, fusion: str, loss: str
) -> None:
    stored()

    report = train(quick(fusion=fusion, loss=loss))

    means = {name: ranked.means()["nDCG@10"] for name, ranked in report.systems.items()}
    assert means["fused"] > means["average of layers"] + 0.1
    assert report.best_layer == "layer 1"


def test_the_layer_that_knows_weighs_most(stored: StoreSounds, train: Any) -> None:
    stored()

    report = train(quick(fusion="weights", epochs=20))

    assert report.weights.argmax() == 1


def test_a_siamese_head_over_the_average_learns_too(stored: StoreSounds, train: Any) -> None:
    stored()

    report = train(quick(fusion="average", head="siamese"))

    means = {name: ranked.means()["nDCG@10"] for name, ranked in report.systems.items()}
    assert means["fused"] > means["average of layers"] + 0.1


def test_the_model_is_registered_with_its_figures_and_its_folds(
    stored: StoreSounds, train: Any, workspace: Workspace
) -> None:
    stored()

    report = train()

    row = find_model(workspace, "fused")
    assert row.fingerprint == report.card.fingerprint
    assert row.metrics["test.MRR"] == pytest.approx(report.systems["fused"].means()["MRR"])
    told = json.loads((row.folder / "training.json").read_text())
    assert set(told["folds"].values()) == {0, 1, 2}
    assert list_runs(workspace, kind="train")[0].model == "fused@1"


def test_the_trained_model_serves(stored: StoreSounds, train: Any, workspace: Workspace) -> None:
    items = stored()
    train()

    encoder = load_encoder(find_model(workspace, "fused").folder)
    assert isinstance(encoder, LayeredEncoder)
    vectors = encoder.fuse(features_of(items))

    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_work_is_parted(stored: StoreSounds, workspace: Workspace) -> None:
    stored()
    data = read_fusion_data(workspace, "c", "frozen", BY_COLOUR)

    folds = deal_folds(data, 3, seed=0)

    for group in range(len(data.unit_names)):
        assert len(set(folds[data.units == group])) == 1
    assert np.bincount(folds).min() >= len(folds) // 3 - 2


def test_every_item_is_held_out_once(stored: StoreSounds, train: Any) -> None:
    items = stored()

    report = train()

    assert sorted(report.systems["fused"].queries) == list(range(len(items)))


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("epochs_done", [4, 14])
def test_killed_and_run_again_it_ends_with_the_same_weights(
    stored: StoreSounds, train: Any, tmp_path: Path, epochs_done: int
) -> None:
    stored()
    whole = train().card

    seen = 0

    def kill(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, EpochDone)
        if seen == epochs_done:
            raise Killed

    with pytest.raises(Killed):
        train(quick(), on_progress=kill)
    again = train().card

    assert again.version == 2
    assert again.fingerprint == whole.fingerprint


def test_singletons_are_told(stored: StoreSounds, train: Any) -> None:
    stored([*sounds(), Sound("alone", {"colour": "red", "work": "red 0"}), Sound("odd", {"work": "odd"})])

    assert train().singletons == 1


def test_numbers_are_parted_into_ranges(stored: StoreSounds, train: Any) -> None:
    stored()

    report = train(belonging=Belonging(labels="number", group_by="work"))

    assert report.systems["fused"].means()["P@1"] > report.systems["fused"].chances()["P@1"]


def test_pairs_teach_without_labels(stored: StoreSounds, train: Any) -> None:
    items = stored(sounds(works=8, movements=1))
    pairs = [(a.id, b.id) for a, b in zip(items[::2], items[1::2], strict=True)]

    report = train(belonging=Belonging(pairs=pairs))

    assert report.groups == len(items) // 2
    assert report.systems["fused"].means()["MRR"] > report.systems["fused"].chances()["MRR"]


def test_a_missing_attribute_is_told(stored: StoreSounds, train: Any) -> None:
    stored()

    with pytest.raises(InvalidTrainingData, match="no item of 'c' here has the attribute 'composer'"):
        train(belonging=Belonging(labels="composer"))


def test_where_nothing_belongs_together_it_says_so(stored: StoreSounds, train: Any) -> None:
    stored()

    with pytest.raises(InvalidTrainingData, match="belongs together with one of another group"):
        train(belonging=Belonging(labels="work", group_by="work"))


def test_a_collection_without_features_is_told(workspace: Workspace, train: Any) -> None:
    from retrieval.collections import create_collection

    create_collection(workspace, "c")

    with pytest.raises(InvalidTrainingData, match="no stored features"):
        train()


def test_too_few_groups_are_told(stored: StoreSounds, train: Any) -> None:
    stored([*sounds(works=2, movements=1)[:2], Sound("x", {"colour": "red", "work": "y"})])

    with pytest.raises(InvalidTrainingData, match="groups cannot be dealt to 5 folds"):
        train(quick(folds=5))


@pytest.mark.parametrize("wrong", [{}, {"labels": "a", "pairs": [("x", "y")]}, {"labels": "target:loudness"}])
def test_what_belongs_together_is_told_in_one_way(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Belonging(**wrong)


@pytest.mark.parametrize("wrong", [{"fusion": "sum"}, {"folds": 2}, {"margin": 3.0}, {"loss": "mse"}])
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        LayerFusionConfig(**wrong)
