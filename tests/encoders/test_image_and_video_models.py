"""Pictures and videos through CLIP, X-CLIP and MobileNetV2, beside what their makers compute."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.nn import functional

from encoders.encoder import MediaEncoder
from encoders.image.backbone import load
from encoders.image.mobilenet import (
    BATCH_NORM_EPSILON,
    LAST_LAYER,
    LAYERS,
    MobileNetV2,
    features_width,
    fold,
)
from encoders.image.pixels import image_spec
from encoders.image.preprocessing import image_preprocessing
from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder
from encoders.pretrained.weights import read_tensors
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel, UnreadableSource
from retrieval.registry import model_folder
from retrieval.workspace import Workspace
from tests.encoders.hub_folders import PICTURES, clip, mobilenet, reference, xclip


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace", create=True)


def opened(ws: Workspace, folder: Path) -> MediaEncoder:
    card = add_encoder(ws, "pictures", folder, precision="float32")
    return cast(MediaEncoder, load_encoder(model_folder(ws, card.name, card.version)))


def pixels(*shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def unit(vectors: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return functional.normalize(vectors, dim=-1).numpy()


def test_clip_sees_as_transformers_does(ws: Workspace, folder: Path) -> None:
    clip(folder)
    model = reference(transformers.CLIPModel, folder)
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32, **_colours())
    picture = pixels(32, 32)

    vectors = opened(ws, folder).encode_items([Content(Modality.IMAGE, decoded=picture)])

    inputs = processor(Image.fromarray(picture), return_tensors="pt").pixel_values
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=inputs).pooler_output
    np.testing.assert_allclose(vectors, unit(expected), atol=1e-5)


def _colours() -> dict[str, Any]:
    return {"image_mean": PICTURES["image_mean"], "image_std": PICTURES["image_std"]}


def test_clip_reads_as_transformers_does(ws: Workspace, folder: Path) -> None:
    clip(folder)
    model = reference(transformers.CLIPModel, folder)
    fast: Any = transformers.PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
    texts = ["the red ship", "song", "a green harbour"]

    vectors = opened(ws, folder).encode_queries([Content(text=text) for text in texts])

    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_text_features(inputs.input_ids, inputs.attention_mask).pooler_output
    np.testing.assert_allclose(vectors, unit(expected), atol=1e-5)


def test_xclip_sees_all_frames_in_their_order(ws: Workspace, folder: Path) -> None:
    xclip(folder)
    model = reference(transformers.XCLIPModel, folder)
    frames = pixels(4, 32, 32)

    encoder = opened(ws, folder)
    forth, back = (
        encoder.encode_items([Content(Modality.VIDEO, decoded=each)]) for each in (frames, frames[::-1])
    )

    mean, std = (torch.tensor(value)[:, None, None] for value in _colours().values())
    inputs = (torch.from_numpy(frames).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        expected = model.get_video_features(inputs[None]).pooler_output
    np.testing.assert_allclose(forth, unit(expected), atol=1e-5)
    assert np.abs(forth - back).max() > 1e-4


def test_a_tokenizer_that_ends_texts_otherwise_is_refused(ws: Workspace, folder: Path) -> None:
    clip(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))

    with pytest.raises(IncompatibleModel, match="does not end texts"):
        opened(ws, folder)


def test_a_missing_tokenizer_is_said(ws: Workspace, folder: Path) -> None:
    clip(folder)
    (folder / "tokenizer.json").unlink()

    with pytest.raises(UnreadableSource, match=r"lacks tokenizer\.json"):
        opened(ws, folder)


def test_folding_changes_no_result(folder: Path) -> None:
    mobilenet(folder)
    state = read_tensors(folder)
    picture = torch.randn(2, 3, 16, 16)

    folded = fold(state)

    convolved = functional.conv2d(picture, state["features.0.0.weight"], stride=2, padding=1)
    mean, variance, scale, offset = (
        state[f"features.0.1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
    )
    expected = functional.batch_norm(convolved, mean, variance, scale, offset, eps=BATCH_NORM_EPSILON)
    got = functional.conv2d(
        picture, folded["features.0.weight"], folded["features.0.bias"], stride=2, padding=1
    )
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_the_layers_that_are_read_stand_side_by_side(folder: Path) -> None:
    mobilenet(folder)
    picture = torch.randn(2, 3, 64, 64)
    models = {layers: MobileNetV2(layers).eval() for layers in (LAYERS, (17,), (LAST_LAYER,))}
    for model in models.values():
        model.load_state_dict(fold(read_tensors(folder)))

    with torch.inference_mode():
        found = {layers: model(picture) for layers, model in models.items()}

    assert found[LAYERS].shape == (2, features_width(LAYERS))
    torch.testing.assert_close(found[LAYERS][:, -1280:], found[(LAST_LAYER,)])
    torch.testing.assert_close(found[LAYERS][:, -1600:-1280], found[(17,)])


def test_a_card_that_names_no_layers_keeps_its_vectors(ws: Workspace, folder: Path) -> None:
    mobilenet(folder)
    card = opened(ws, folder).card
    place = model_folder(ws, card.name, card.version)
    old = replace(card, architecture={"family": "mobilenet_v2"}, dims=1280)
    spec = image_spec(card.preprocessing)
    picture = Content(Modality.IMAGE, decoded=pixels(spec.height, spec.width))

    vectors = load(old, place).encode_items([picture])

    last = load(card, place).encode_items([picture])[:, -1280:]
    np.testing.assert_allclose(vectors, unit(torch.from_numpy(last)), atol=1e-6)


def test_a_mobilenet_of_another_width_is_refused(ws: Workspace, folder: Path) -> None:
    from safetensors.torch import save_file

    mobilenet(folder)
    tensors = read_tensors(folder)
    tensors["features.0.0.weight"] = torch.zeros(16, 3, 3, 3)
    save_file(tensors, folder / "model.safetensors")

    with pytest.raises(IncompatibleModel, match=r"features\.0\.0\.weight: expected shape \(32, 3, 3, 3\)"):
        opened(ws, folder)


FORMS = [
    ({"size": 224, "crop_size": 224, "do_center_crop": True}, (224, 224, "crop", 224)),
    (
        {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 192}, "do_center_crop": True},
        (224, 192, "crop", 256),
    ),
    ({"size": {"height": 384, "width": 384}, "do_center_crop": False}, (384, 384, "squash", 0)),
    ({"size": {"height": 300, "width": 260}}, (300, 260, "squash", 0)),
]


@pytest.mark.parametrize(("told", "expected"), FORMS, ids=range(len(FORMS)))
def test_all_forms_of_sizes_are_read(
    tmp_path: Path, told: dict[str, Any], expected: tuple[int, int, str, int]
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**told, **_colours(), "resample": 2}))

    read = image_preprocessing(tmp_path)

    assert (read["height"], read["width"], read["fit"], read["short_edge"]) == expected
    assert read["resample"] == "bilinear"


@pytest.mark.parametrize(
    "told",
    [
        {"size": {"longest_edge": 3}},
        {"size": "big"},
        {"size": -1},
        {"size": 9, "image_std": [0, 0, 0]},
        {"size": 9, "image_mean": [1]},
        {"size": 8, "crop_size": 9, "do_center_crop": True},
        {"size": 8, "resample": 17},
    ],
    ids=str,
)
def test_a_preprocessing_that_cannot_be_is_refused(tmp_path: Path, told: dict[str, Any]) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(_colours() | told))

    with pytest.raises(UnreadableSource):
        image_preprocessing(tmp_path)


@pytest.mark.parametrize("told", [{"do_resize": False}, {"rescale_factor": 1.0}], ids=str)
def test_a_preprocessing_that_is_not_done_here_is_refused(tmp_path: Path, told: dict[str, Any]) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 8, **_colours(), **told}))

    with pytest.raises(IncompatibleModel):
        image_preprocessing(tmp_path)
