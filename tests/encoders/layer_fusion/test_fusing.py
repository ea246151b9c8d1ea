"""The fusion in numpy, and its file."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from encoders.layer_fusion.architecture import FusionKind, FusionShape, HeadKind
from encoders.layer_fusion.encoder import LayerFusion, save_layer_fusion
from encoders.layer_fusion.fusing import Fusion
from encoders.layer_fusion.network import FusionNetwork
from encoders.loading import load_encoder
from retrieval.errors import CorruptArtifact, InvalidInput
from tests.encoders.layer_fusion.small import LAYERS, WIDTH, SmallFrozen, features_of, sounds

FEATURES = features_of(sounds())


def network_of(seed: int = 0, **shape: object) -> FusionNetwork:
    torch.manual_seed(seed)
    made = FusionNetwork(FusionShape(layers=LAYERS, width=WIDTH, dims=5, **shape), FEATURES)  # type: ignore[arg-type]
    for parameter in made.parameters():  # away from where it starts
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize("head", get_args(HeadKind))
@pytest.mark.parametrize("fusion", get_args(FusionKind))
def test_numpy_computes_what_was_trained(fusion: str, head: str) -> None:
    network = network_of(fusion=fusion, head=head, layer=1)

    fused = Fusion(network.shape, network.tensors())(FEATURES)

    np.testing.assert_allclose(fused, network.encode(FEATURES), atol=1e-5)


def test_the_attention_is_over_layers_also_in_a_batch() -> None:
    network = network_of(fusion="attention")
    fusion = Fusion(network.shape, network.tensors())

    weights = fusion.layer_weights(FEATURES)

    assert weights.shape == (len(FEATURES), LAYERS)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    alone = np.concatenate([fusion(row[None]) for row in FEATURES])
    np.testing.assert_allclose(fusion(FEATURES), alone, atol=1e-5)


@pytest.mark.parametrize("head", get_args(HeadKind))
@pytest.mark.parametrize("fusion", ["attention", "weights"])
def test_it_starts_as_the_average_of_standardised_layers(fusion: str, head: str) -> None:
    shape = FusionShape(layers=LAYERS, width=WIDTH, dims=WIDTH, fusion=fusion, head=head)  # type: ignore[arg-type]
    network = FusionNetwork(shape, FEATURES)
    scaled = (FEATURES - network.mean.numpy()) / network.scale.numpy()
    average = scaled.mean(axis=1)
    average /= np.linalg.norm(average, axis=1, keepdims=True)

    vectors = network.encode(FEATURES)

    np.testing.assert_allclose(vectors @ vectors.T, average @ average.T, atol=1e-2)


def test_no_contents_give_no_vectors() -> None:
    network = network_of()

    assert Fusion(network.shape, network.tensors())(FEATURES[:0]).shape == (0, 5)


def test_a_tensor_of_another_shape_is_refused() -> None:
    network = network_of()
    tensors = network.tensors() | {"head.0.weight": np.zeros((5, WIDTH + 1), np.float32)}

    with pytest.raises(CorruptArtifact, match=r"head\.0\.weight"):
        Fusion(network.shape, tensors)


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInput, match="0 to 2"):
        FusionShape(layers=3, width=8, fusion="layer", layer=3)


@pytest.fixture
def folder(tmp_path: Path, backbone: SmallFrozen, backbone_folder: Path) -> Path:
    network = network_of()
    target = tmp_path / "fused"
    save_layer_fusion(
        target, network.shape, network.tensors(), backbone, backbone_folder, name="fused", version=1
    )
    return target


def test_a_saved_fusion_fuses_as_before(folder: Path) -> None:
    encoder = load_encoder(folder)
    assert isinstance(encoder, LayerFusion)

    np.testing.assert_allclose(encoder.fuse(FEATURES), network_of().encode(FEATURES), atol=1e-5)


def test_it_shares_the_features_of_its_frozen_model(folder: Path, backbone: SmallFrozen) -> None:
    encoder = load_encoder(folder)
    assert isinstance(encoder, LayerFusion)

    assert encoder.feature_fingerprint == backbone.feature_fingerprint
    assert encoder.feature_shape == backbone.feature_shape


def test_the_frozen_models_files_are_part_of_the_fingerprint(folder: Path) -> None:
    (folder / "backbone" / "model.safetensors").write_bytes(b"other weights")

    with pytest.raises(CorruptArtifact):
        load_encoder(folder)


def test_stored_features_are_fused_without_torch(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np; "
        "from encoders.encoder import LayeredEncoder; from encoders.loading import load_encoder; "
        f"encoder = load_encoder(Path({str(folder)!r})); assert isinstance(encoder, LayeredEncoder); "
        f"encoder.fuse(np.ones((1, {LAYERS}, {WIDTH}), np.float32)); assert 'torch' not in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
