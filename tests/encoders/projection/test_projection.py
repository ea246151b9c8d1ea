"""Training a projection and serving it."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch

from encoders.loading import load_encoder
from encoders.projection.encoder import ProjectionEncoder
from encoders.projection.heads import Head, ProjectionShape, SideShape
from encoders.training.events import Event, StepDone
from encoders.training.pairs import PairSource, deal_parts, read_pairs
from encoders.training.projection import Backbone, ProjectionReport, train_projection
from encoders.training.projection_config import ProjectionConfig
from encoders.training.projection_fit import ProjectionTraining
from encoders.training.projection_objective import HeadModule
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel, InvalidInput, InvalidTrainingData, ModalityNotServed
from retrieval.registry import find_model, list_runs
from retrieval.workspace import Workspace
from tests.encoders.projection.conftest import PAIRS, captions, pictures_of, store

IMAGES = PairSource(modality=Modality.IMAGE)


def trained(ws: Workspace, media: Backbone, text: Backbone, **changes: Any) -> ProjectionReport:
    source = changes.pop("source", IMAGES)
    on_progress = changes.pop("on_progress", lambda event: None)
    config = ProjectionConfig(**{"epochs": 3, "batch_size": 32, "dims": 8} | changes)
    return train_projection(
        ws, "c", config, source, name="both", media=media, text=text, on_progress=on_progress
    )


def encoder(ws: Workspace) -> ProjectionEncoder:
    opened = load_encoder(find_model(ws, "both").folder)
    assert isinstance(opened, ProjectionEncoder)
    return opened


@pytest.mark.parametrize("hidden", [0, 7])
def test_numpy_projects_as_torch_did(hidden: int) -> None:
    shape = ProjectionShape(media=SideShape(width=5), text=SideShape(width=6), dims=4, hidden=hidden)
    torch.manual_seed(0)
    module = HeadModule(5, shape, dropout=0.5).eval()
    if hidden:
        torch.nn.init.normal_(module.out.weight)
        torch.nn.init.normal_(module.norm.bias)
    vectors = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    tensors = {f"media.{name}": value.numpy() for name, value in module.state_dict().items()}

    found = Head(shape, "media", tensors)(vectors)

    np.testing.assert_allclose(found, module(torch.from_numpy(vectors)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("hidden", [0, 8])
def test_held_out_captions_find_their_pictures(
    pairs: Workspace, media: Backbone, text: Backbone, hidden: int
) -> None:
    report = trained(pairs, media, text, hidden=hidden)

    metrics = report.card.metrics
    found = metrics["test.text_to_media.Recall@5"]
    assert found > 3 * metrics["chance.test.text_to_media.Recall@5"]
    assert metrics["test.text_to_media.Recall@5.low"] <= found <= metrics["test.text_to_media.Recall@5.high"]
    assert metrics["ridge.test.media_to_text.MRR"] > metrics["chance.test.media_to_text.MRR"]


def test_the_parts_are_recorded(pairs: Workspace, media: Backbone, text: Backbone) -> None:
    trained(pairs, media, text)

    parts = json.loads((find_model(pairs, "both").folder / "parts.json").read_text())
    assert {name: len(ids) for name, ids in parts.items()} == {"train": 84, "validation": 12, "test": 24}
    assert len(set().union(*parts.values())) == PAIRS
    assert list_runs(pairs, kind="train")[0].artifacts["test"] == parts["test"]


def test_the_model_holds_its_backbones(pairs: Workspace, media: Backbone, text: Backbone) -> None:
    trained(pairs, media, text)
    shutil.rmtree(media.folder)
    shutil.rmtree(text.folder)
    random = np.random.default_rng(0)
    picture = Content(Modality.IMAGE, decoded=random.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    mixed = [Content(text="w1 w2"), picture, Content(text="w3")]

    vectors = encoder(pairs).encode_items(mixed)

    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[[1]], encoder(pairs).encode_queries([picture]), atol=1e-6)
    np.testing.assert_allclose(vectors[[2]], encoder(pairs).encode_queries([mixed[2]]), atol=1e-6)


def test_vectors_derived_from_the_backbone_are_those_it_encodes(
    pairs: Workspace, media: Backbone, text: Backbone
) -> None:
    trained(pairs, media, text, hidden=4)
    random = np.random.default_rng(0)
    pictures = [
        Content(Modality.IMAGE, decoded=random.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in "abc"
    ]
    opened = encoder(pairs)

    derived = opened.derive(Modality.IMAGE, media.encoder.encode_items(pictures))

    assert opened.bases[Modality.IMAGE] == media.encoder.card.fingerprint
    np.testing.assert_allclose(derived, opened.encode_items(pictures), atol=1e-6)


def test_other_media_are_refused(pairs: Workspace, media: Backbone, text: Backbone) -> None:
    trained(pairs, media, text)

    with pytest.raises(ModalityNotServed, match="takes image and text, got audio"):
        encoder(pairs).encode_items([Content(Modality.AUDIO)])


def test_what_is_chosen_sees_no_held_out_pair(
    workspace: Workspace, media: Backbone, text: Backbone, pairs: Workspace
) -> None:
    held = read_pairs(pairs, "c", media.encoder.card.fingerprint, IMAGES)
    parts = deal_parts(held.groups, held.group_names, test=0.2, validation=0.1, seed=0)
    texts = np.zeros((len(held.captions), 4), np.float32)
    training = ProjectionTraining(held, texts, parts, ProjectionConfig(), workspace.root, print)

    folds = list(training.folds())

    inside = [set(fold.tolist()) for _, fold in folds]
    assert sum(map(len, inside)) == len(set().union(*inside)) == 96
    for (learned, fold), number in zip(folds, range(3), strict=True):
        assert not {*learned.tolist(), *fold.tolist()} & set(parts["test"].tolist()), number
        assert not set(held.groups[learned].tolist()) & set(held.groups[fold].tolist()), number


class Killed(Exception):
    pass


@pytest.mark.parametrize("stage", ["search", "final"])
def test_killed_while_training_it_ends_with_the_same_weights(
    pairs: Workspace, media: Backbone, text: Backbone, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from encoders.training.optimisation import LoopConfig

    defaults = LoopConfig.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "checkpoint_every_s", 0.0)  # every epoch
    settings = {"start": "random", "learning_rate": 3e-3}
    expected = trained(pairs, media, text, **settings).card

    def kill(event: Event) -> None:
        if isinstance(event, StepDone) and event.stage == stage and event.step == 5:
            raise Killed

    with pytest.raises(Killed):
        trained(pairs, media, text, on_progress=kill, **settings)

    card = trained(pairs, media, text, **settings).card
    assert card.fingerprint == expected.fingerprint
    assert card.version == 2


def test_another_seed_gives_other_weights(pairs: Workspace, media: Backbone, text: Backbone) -> None:
    first = trained(pairs, media, text, learning_rate=1e-2, start="random").card
    second = trained(pairs, media, text, learning_rate=1e-2, start="random", seed=1).card

    assert first.fingerprint != second.fingerprint


def test_equal_captions_and_equal_pictures_are_never_parted(
    workspace: Workspace, media: Backbone, text: Backbone
) -> None:
    told = captions()
    told[10:40] = [told[0].upper()] * 30
    vectors = pictures_of(captions(), text, media.encoder.card.dims)
    vectors[50:60] = vectors[10]
    store(workspace, media, told, vectors, work=[str(number // 2) for number in range(PAIRS)])

    pairs = read_pairs(
        workspace,
        "c",
        media.encoder.card.fingerprint,
        PairSource(modality=Modality.IMAGE, group_by="work"),
    )
    parts = deal_parts(pairs.groups, pairs.group_names, test=0.2, validation=0.1, seed=0)

    part_of = {pairs.ids[row]: name for name, rows in parts.items() for row in rows}
    assert len({part_of[f"p{number}"] for number in (0, *range(10, 40), *range(50, 60))}) == 1
    assert all(part_of[f"p{number}"] == part_of[f"p{number + 1}"] for number in range(0, PAIRS, 2))


def test_a_pair_more_moves_few_others(pairs: Workspace, media: Backbone, text: Backbone) -> None:
    fingerprint = media.encoder.card.fingerprint
    before = read_pairs(pairs, "c", fingerprint, IMAGES)
    store(pairs, media, ["w1"], pictures_of(["w1"], text, media.encoder.card.dims))  # replaces p0
    after = read_pairs(pairs, "c", fingerprint, IMAGES)

    held = [
        {
            one.ids[row]
            for row in deal_parts(one.groups, one.group_names, test=0.2, validation=0.1, seed=5)["test"]
        }
        for one in (before, after)
    ]
    assert len(held[0] & held[1]) >= len(held[0]) - 1


def test_captions_may_be_an_attribute(workspace: Workspace, media: Backbone, text: Backbone) -> None:
    told = captions(20)
    store(workspace, media, [""] * 20, pictures_of(told, text, media.encoder.card.dims), tags=told)

    pairs = read_pairs(
        workspace,
        "c",
        media.encoder.card.fingerprint,
        PairSource(modality=Modality.IMAGE, text_attribute="tags"),
    )

    assert list(pairs.captions) == told


def test_without_captions_it_says_what_to_do(workspace: Workspace, media: Backbone, text: Backbone) -> None:
    store(workspace, media, [""] * 20, pictures_of(captions(20), text, media.encoder.card.dims))

    with pytest.raises(InvalidTrainingData, match=r"20 image items, 0 of them with a caption"):
        trained(workspace, media, text)


def test_an_encoder_of_texts_only_makes_no_media(pairs: Workspace, text: Backbone) -> None:
    with pytest.raises(IncompatibleModel, match="words@1 takes no image"):
        trained(pairs, text, text)


def test_a_setting_out_of_range_is_named() -> None:
    with pytest.raises(InvalidInput, match="validation: expected more than 0"):
        ProjectionConfig(validation=0.0)
