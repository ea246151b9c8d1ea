"""Sounds and texts through CLAP, beside what its makers compute."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from encoders.encoder import MediaEncoder
from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel
from retrieval.registry import model_folder
from retrieval.workspace import Workspace
from tests.encoders.hub_folders import clap, reference

RATE = 4000  # of the tiny model, whose windows are of one second


def opened(folder: Path) -> MediaEncoder:
    ws = Workspace(folder.parent / "workspace", create=True)
    add_encoder(ws, "sounds", folder, precision="float32")
    return cast(MediaEncoder, load_encoder(model_folder(ws, "sounds", 1)))


def sound(seconds: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    samples = np.random.default_rng(0).standard_normal(round(seconds * RATE)) * 0.1
    return samples.astype(np.float32)


@pytest.mark.parametrize("fusion", [False, True])
@pytest.mark.parametrize("seconds", [1, 0.3], ids=["a whole window", "repeated and filled up"])
def test_clap_hears_as_transformers_does(folder: Path, fusion: bool, seconds: float) -> None:
    clap(folder, fusion=fusion)
    model = reference(transformers.ClapModel, folder)
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    samples = sound(seconds)

    vectors = opened(folder).encode_items([Content(Modality.AUDIO, decoded=samples)])

    inputs = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
    with torch.inference_mode():
        longer = torch.zeros((1, 1), dtype=torch.bool)
        expected = model.get_audio_features(inputs.float(), longer).pooler_output
    np.testing.assert_allclose(vectors, functional.normalize(expected, dim=-1).numpy(), atol=1e-4)


def test_a_long_sound_is_the_mean_of_its_windows(folder: Path) -> None:
    clap(folder)
    encoder = opened(folder)
    samples = sound(2.5)

    whole = encoder.encode_items([Content(Modality.AUDIO, decoded=samples)])[0]

    cut = [samples[start : start + RATE] for start in (0, RATE, 6000)]  # the last one is shifted back
    mean = encoder.encode_items([Content(Modality.AUDIO, decoded=part) for part in cut]).mean(axis=0)
    np.testing.assert_allclose(whole, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_long_sound_has_the_same_vector_each_time(folder: Path) -> None:
    clap(folder)
    encoder, content = opened(folder), Content(Modality.AUDIO, decoded=sound(2.5))

    vectors = [encoder.encode_items([content]).tobytes() for _ in range(3)]

    assert len(set(vectors)) == 1


def test_a_preprocessing_of_another_model_is_refused(folder: Path) -> None:
    clap(folder)
    told = (folder / "preprocessor_config.json").read_text()
    (folder / "preprocessor_config.json").write_text(told.replace("rand_trunc", "fusion"))

    with pytest.raises(IncompatibleModel, match="does not fit the model's config"):
        opened(folder)
