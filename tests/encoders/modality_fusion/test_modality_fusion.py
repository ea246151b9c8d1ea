"""Fusing modalities: what is missing changes nothing, and what is there is learned from."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from encoders.loading import load_encoder
from encoders.modality_fusion.architecture import ModalityFusionShape, Strategy
from encoders.modality_fusion.encoder import ModalityFusionEncoder
from encoders.modality_fusion.fusing import ModalityFusion
from encoders.modality_fusion.network import ModalityFusionNetwork
from encoders.training.events import Event, StepDone
from encoders.training.modality_config import ModalityFusionConfig
from encoders.training.modality_data import Aim
from encoders.training.modality_fusion import (
    FUSED,
    ModalityFusionReport,
    train_modality_fusion,
)
from encoders.training.projection import Backbone
from retrieval.content import Content, Modality
from retrieval.errors import InvalidInput, InvalidTrainingData, ModalityNotServed
from retrieval.judgements import JudgedQuery, put_judged_queries
from retrieval.registry import find_model, list_runs
from retrieval.workspace import Workspace
from tests.encoders.projection.conftest import WORDS, media, pictures_of, store, text, workspace
from twinspire.modality_fusion import open_parts

__all__ = ["media", "text", "workspace"]  # fixtures

torch.set_num_threads(1)

STRATEGIES: list[Strategy] = ["concat", "sum", "max", "gated"]
ITEMS = 180
Vectors = dict[str, NDArray[np.float32]]


def network(strategy: Strategy) -> ModalityFusionNetwork:
    torch.manual_seed(0)
    shape = ModalityFusionShape(
        parts=((Modality.IMAGE, 5), (Modality.TEXT, 7), (Modality.AUDIO, 3)),
        dims=8,
        strategy=strategy,
        gate_hidden=6,
    )
    made = ModalityFusionNetwork(shape).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def drawn(count: int = 20) -> tuple[Vectors, NDArray[np.bool_]]:
    random = np.random.default_rng(0)
    vectors = {
        name: random.standard_normal((count, width)).astype(np.float32)
        for name, width in (("image", 5), ("text", 7), ("audio", 3))
    }
    present = random.random((count, 3)) < 0.6
    present[np.arange(count), random.integers(0, 3, count)] = True
    return vectors, present


def as_tensors(vectors: Vectors) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(own) for name, own in vectors.items()}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_numpy_fuses_as_torch_did(strategy: Strategy) -> None:
    made, (vectors, present) = network(strategy), drawn()

    found = ModalityFusion(made.shape, made.tensors())(vectors, present)

    expected = made(as_tensors(vectors), torch.from_numpy(present)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_missing_part_never_changes_the_vector(strategy: Strategy) -> None:
    made, (vectors, present) = network(strategy), drawn()
    fusion = ModalityFusion(made.shape, made.tensors())
    other = {name: own.copy() for name, own in vectors.items()}
    for place, name in enumerate(("image", "text", "audio")):
        other[name][~present[:, place]] = 1e6

    np.testing.assert_array_equal(fusion(vectors, present), fusion(other, present))
    np.testing.assert_allclose(
        made(as_tensors(vectors), torch.from_numpy(present)).detach().numpy(),
        made(as_tensors(other), torch.from_numpy(present)).detach().numpy(),
        atol=1e-6,
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_part_that_is_there_changes_the_vector(strategy: Strategy) -> None:
    made, (vectors, _) = network(strategy), drawn()
    fusion, present = ModalityFusion(made.shape, made.tensors()), np.ones((20, 3), np.bool_)
    before = fusion(vectors, present)

    for name in vectors:
        after = fusion({**vectors, name: -vectors[name]}, present)
        assert (np.abs(after - before).max(axis=1) > 1e-3).mean() > 0.7, name  # a share may be near zero


def test_missing_parts_have_no_share() -> None:
    made, (vectors, present) = network("gated"), drawn()

    shares = ModalityFusion(made.shape, made.tensors()).shares(vectors, present)

    assert (shares[~present] == 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)


@pytest.fixture
def items(workspace: Workspace, media: Backbone, text: Backbone) -> Workspace:
    """180 pictures of nine labels, of which the picture tells one half and the text the other."""
    random = np.random.default_rng(0)
    shown = [f"w{number % 3} w{number % 3 + 3}" for number in range(ITEMS)]
    told = [f"w{number // 3 % 3 + 6} {random.choice(WORDS[12:20])}" for number in range(ITEMS)]
    told[7] = ""  # a picture alone
    labels = [f"l{number % 9}" for number in range(ITEMS)]
    store(workspace, media, told, pictures_of(shown, text, media.encoder.card.dims), label=labels)
    return workspace


def trained(ws: Workspace, media: Backbone, text: Backbone, **changes: Any) -> ModalityFusionReport:
    aim = changes.pop("aim", Aim(labels="label"))
    on_progress = changes.pop("on_progress", lambda event: None)
    config = ModalityFusionConfig(**{"epochs": 8, "dims": 16, "learning_rate": 1e-2} | changes)
    return train_modality_fusion(
        ws,
        "c",
        config,
        aim,
        name="fused",
        parts={Modality.IMAGE: media, Modality.TEXT: text},
        on_progress=on_progress,
    )


def encoder(ws: Workspace) -> ModalityFusionEncoder:
    opened = load_encoder(find_model(ws, "fused").folder)
    assert isinstance(opened, ModalityFusionEncoder)
    return opened


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_items_find_their_likes_better_by_both_parts(
    items: Workspace, media: Backbone, text: Backbone, strategy: Strategy
) -> None:
    report = trained(items, media, text, strategy=strategy)

    mrr = {system: ranked.means()["MRR"] for system, ranked in report.systems.items()}
    assert mrr[FUSED] > max(mrr["image alone"], mrr["text alone"])
    assert mrr["image alone"] > report.systems[FUSED].chances()["MRR"]
    assert report.card.metrics["test.MRR.low"] <= mrr[FUSED] <= report.card.metrics["test.MRR.high"]
    assert list_runs(items, kind="train")[0].metrics == report.card.metrics


def test_judged_queries_find_pictures_that_no_text_tells_of(
    items: Workspace, media: Backbone, text: Backbone
) -> None:
    split = ("train", "train", "train", "validation", "test")
    queries = [
        JudgedQuery(
            f"q{number}",
            f"w{20 + number % 3} {WORDS[12 + number % 8]}",
            split[number // 3 % 5],
            {f"p{item}": 1 for item in range(number % 3, ITEMS, 3)},
        )
        for number in range(60)
    ]
    put_judged_queries(items, "c", queries)

    report = trained(items, media, text, aim=Aim(), epochs=15)

    mrr = {system: ranked.means()["MRR"] for system, ranked in report.systems.items()}
    assert set(mrr) == {"text alone", "fused, image only", "fused, text only", FUSED}
    assert mrr["fused, image only"] > max(mrr["text alone"], report.systems[FUSED].chances()["MRR"])


def test_the_model_serves_contents_with_and_without_each_part(
    items: Workspace, media: Backbone, text: Backbone
) -> None:
    trained(items, media, text)
    shutil.rmtree(media.folder)
    shutil.rmtree(text.folder)
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    alone = Content(Modality.IMAGE, decoded=pixels)
    both = Content(Modality.IMAGE, text="w1 w7", decoded=pixels)
    words = Content(text="w1 w7")
    opened = encoder(items)

    vectors = opened.encode_items([alone, both, words])

    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert np.abs(vectors[2] - vectors[1]).max() > 1e-3
    for row, content in enumerate((alone, both, words)):
        np.testing.assert_allclose(opened.encode_items([content]), vectors[row : row + 1], atol=1e-6)
    assert opened.encode_queries([]).shape == (0, 16)
    with pytest.raises(ModalityNotServed):
        opened.encode_items([Content(Modality.AUDIO)])


class Killed(Exception):
    pass


def test_killed_while_training_it_ends_with_the_same_weights(
    items: Workspace, media: Backbone, text: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from encoders.training.optimisation import LoopConfig

    defaults = LoopConfig.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "checkpoint_every_s", 0.0)  # every epoch
    expected = trained(items, media, text, batch_size=16, epochs=3).card

    def kill(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 8:
            raise Killed

    with pytest.raises(Killed):
        trained(items, media, text, batch_size=16, epochs=3, on_progress=kill)

    card = trained(items, media, text, batch_size=16, epochs=3).card
    assert (card.fingerprint, card.version) == (expected.fingerprint, 2)


def test_an_attribute_that_nothing_has_is_told(items: Workspace, media: Backbone, text: Backbone) -> None:
    with pytest.raises(InvalidTrainingData, match="no item has the attribute 'artist'"):
        trained(items, media, text, aim=Aim(labels="artist"))


def test_without_judged_queries_it_says_so(items: Workspace, media: Backbone, text: Backbone) -> None:
    with pytest.raises(InvalidTrainingData, match="no judged queries"):
        trained(items, media, text, aim=Aim())


def test_one_modality_is_nothing_to_fuse() -> None:
    with pytest.raises(InvalidInput, match="two modalities or more"):
        ModalityFusionShape(parts=((Modality.TEXT, 3),), dims=4)


def test_parts_of_the_command_line_are_checked(tmp_path: Path) -> None:
    with (
        Workspace(tmp_path / "ws", create=True) as ws,
        pytest.raises(InvalidInput, match="expected MODALITY=NAME"),
    ):
        open_parts(ws, ["picture=mobilenet"])
