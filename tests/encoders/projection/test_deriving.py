"""Vectors of a projection from those of its backbone, and the command that trains one."""

import json

import numpy as np
import pytest

from encoders.loading import load_encoder
from encoders.projection.encoder import ProjectionEncoder
from encoders.training.projection import Backbone, train_projection
from encoders.training.projection_config import ProjectionConfig
from indexer.encoding import encode_pending
from indexer.progress import ignore_progress
from retrieval.content import Modality
from retrieval.embeddings import read_embeddings
from retrieval.items import sequence
from retrieval.registry import find_model
from retrieval.workspace import Workspace
from tests.encoders.projection.test_projection import IMAGES
from twinspire.cli import run


@pytest.fixture
def projected(pairs: Workspace, media: Backbone, text: Backbone) -> ProjectionEncoder:
    config = ProjectionConfig(epochs=1, dims=8)
    train_projection(pairs, "c", config, IMAGES, name="both", media=media, text=text)
    opened = load_encoder(find_model(pairs, "both").folder)
    assert isinstance(opened, ProjectionEncoder)
    return opened


def test_an_index_decodes_no_picture_that_the_backbone_has_encoded(
    pairs: Workspace, media: Backbone, projected: ProjectionEncoder
) -> None:
    # The collection's files do not even exist.
    encode_pending(pairs, "c", projected, up_to_key=sequence(pairs, "c"), on_progress=ignore_progress)

    ((keys, vectors),) = read_embeddings(pairs, "c", projected.card.fingerprint)
    ((base_keys, base),) = read_embeddings(pairs, "c", media.encoder.card.fingerprint)
    assert keys.tolist() == base_keys.tolist()
    np.testing.assert_allclose(vectors, projected.derive(Modality.IMAGE, base), atol=1e-6)


def test_the_command_prints_what_it_stands_beside(
    pairs: Workspace, text: Backbone, capsys: pytest.CaptureFixture[str]
) -> None:
    from retrieval.registry import model_folder, register_model

    own = model_folder(pairs, "words", 1)
    own.parent.mkdir()
    text.folder.rename(own)
    register_model(pairs, "words", 1, "two_tower", text.encoder.card.fingerprint, {})
    command = ["--workspace", str(pairs.root), "train", "projection", "c", "--name", "both"]
    command += ["--media-encoder", "pictures", "--text-encoder", "words", "--dims", "8", "--epochs", "1"]

    assert run(command) == 0

    told = capsys.readouterr().out
    assert "84 pairs to learn from, 12 to stop by and then learned from, 24 held out" in told
    assert "Texts find pictures: 24 held-out queries, 24 candidates each" in told
    for system in ("chance", "ridge regression", "closed form (CCA)", "trained"):
        assert system in told
    assert run([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "both@2"
    assert set(told["systems"]) == {"ridge", "closed form", "projection"}
