"""Sounds through the layers of HuBERT, MERT, wav2vec2 and Whisper."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers

from encoders.audio.layers import AudioLayers
from encoders.audio.openai_whisper import convert_whisper
from encoders.audio.spectrogram import mel_filters, mel_power
from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder
from encoders.pretrained.weights import read_tensors
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel, InvalidInput, UnreadableSource
from retrieval.registry import model_folder
from retrieval.workspace import Workspace
from tests.encoders.hub_folders import FAMILIES, mert, reference, whisper


def sound(seconds: float, rate: int = 1000, seed: int = 0) -> Content:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * rate)) * 0.1
    return Content(Modality.AUDIO, decoded=samples.astype(np.float32))


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace", create=True)


def opened(ws: Workspace, folder: Path, **options: Any) -> AudioLayers:
    card = add_encoder(ws, "sounds", folder, **{"precision": "float32"} | options)
    return cast(AudioLayers, load_encoder(model_folder(ws, card.name, card.version)))


def test_mert_is_a_hubert_without_its_remote_code(ws: Workspace, folder: Path) -> None:
    mert(folder)
    hubert: Any = transformers.HubertModel(
        transformers.HubertConfig(**_plain(json.loads((folder / "config.json").read_text())))
    )
    hubert.load_state_dict(torch.load(folder / "pytorch_model.bin", weights_only=True), strict=True)
    samples = sound(5).decoded
    assert samples is not None

    features = opened(ws, folder).extract([Content(Modality.AUDIO, decoded=samples)])

    with torch.inference_mode():
        states = hubert.eval()(torch.from_numpy(samples)[None], output_hidden_states=True).hidden_states
    expected = torch.stack([state.mean(dim=1) for state in states], dim=1).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in ("model_type", "architectures")}


@pytest.mark.parametrize("option", [{"deepnorm": True}, {"feature_extractor_cqt": True}])
def test_a_mert_that_is_no_hubert_is_refused(ws: Workspace, folder: Path, option: dict[str, Any]) -> None:
    mert(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | option))

    with pytest.raises(IncompatibleModel, match="it is no HuBERT"):
        opened(ws, folder)


def test_windows_of_five_seconds_overlap_by_half(ws: Workspace, folder: Path) -> None:
    FAMILIES["hubert"](folder)
    encoder = opened(ws, folder)
    samples = sound(9).decoded
    assert samples is not None

    whole = encoder.extract([Content(Modality.AUDIO, decoded=samples)])
    cut = [samples[start : start + 5000] for start in (0, 2500, 4000)]  # the last one is shifted back

    parts = encoder.extract([Content(Modality.AUDIO, decoded=part) for part in cut])
    np.testing.assert_allclose(whole[0], parts.mean(axis=0), atol=1e-5)


def test_a_short_sound_is_heard_at_its_own_length(ws: Workspace, folder: Path) -> None:
    FAMILIES["hubert"](folder)
    encoder = opened(ws, folder)
    short = sound(0.7)

    alone = encoder.extract([short])
    beside_longer_ones = encoder.extract([sound(5, seed=1), short, sound(12, seed=2)])[1:2]

    np.testing.assert_allclose(alone, beside_longer_ones, atol=1e-5)


def test_a_sound_of_a_few_samples_is_repeated(ws: Workspace, folder: Path) -> None:
    FAMILIES["wav2vec2"](folder)

    features = opened(ws, folder).extract([Content(Modality.AUDIO, decoded=np.ones(1, np.float32))])

    assert np.isfinite(features).all()


def test_whisper_hears_as_transformers_does(ws: Workspace, folder: Path) -> None:
    whisper(folder)
    model = reference(transformers.WhisperModel, folder).encoder
    make: Any = transformers.WhisperFeatureExtractor
    extractor = make(feature_size=8, chunk_length=1)
    samples = sound(1, rate=16_000).decoded
    assert samples is not None

    features = opened(ws, folder).extract([Content(Modality.AUDIO, decoded=samples)])

    inputs = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        states = model(inputs, output_hidden_states=True).hidden_states
    expected = torch.stack([state.mean(dim=1) for state in states], dim=1).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_whisper_averages_only_the_frames_that_hold_sound(ws: Workspace, folder: Path) -> None:
    whisper(folder)
    encoder = opened(ws, folder)
    samples = sound(0.4, rate=16_000).decoded
    assert samples is not None
    filled = np.concatenate([samples, np.zeros(9600, np.float32)])

    short = encoder.extract([Content(Modality.AUDIO, decoded=samples)])
    long = encoder.extract([Content(Modality.AUDIO, decoded=filled)])

    assert np.abs(short - long).max() > 0.1


def test_whisper_may_hear_shorter_windows(ws: Workspace, folder: Path) -> None:
    whisper(folder)

    encoder = opened(ws, folder, window_s=0.5)

    assert encoder.extract([sound(1, rate=16_000)]).shape == (1, 3, 16)
    assert read_tensors(model_folder(ws, "sounds", 1))["embed_positions.weight"].shape == (25, 16)


def test_whisper_leaves_its_decoder_behind(ws: Workspace, folder: Path) -> None:
    whisper(folder)

    opened(ws, folder)

    assert not [name for name in read_tensors(model_folder(ws, "sounds", 1)) if "decoder" in name]


def test_openais_whisper_becomes_a_folder_of_the_hub(ws: Workspace, folder: Path, tmp_path: Path) -> None:
    whisper(folder)
    theirs = {"self_attn_layer_norm": "attn_ln", "self_attn.q_proj": "attn.query", "fc2": "mlp.2"}
    theirs |= {"self_attn.k_proj": "attn.key", "self_attn.v_proj": "attn.value", "fc1": "mlp.0"}
    theirs |= {"self_attn.out_proj": "attn.out", "final_layer_norm": "mlp_ln", "layers.": "blocks."}
    theirs |= {"embed_positions.weight": "positional_embedding", "encoder.layer_norm": "encoder.ln_post"}
    state = {}
    for name, value in read_tensors(folder).items():
        name = name.removeprefix("model.")
        for ours, their in theirs.items():
            name = name.replace(ours, their)
        state[name] = value
    dims = {"n_mels": 8, "n_audio_ctx": 50, "n_audio_state": 16, "n_audio_head": 2, "n_audio_layer": 2}
    torch.save({"dims": dims, "model_state_dict": state}, tmp_path / "tiny.pt")
    converted = tmp_path / "converted"
    converted.mkdir()

    convert_whisper(tmp_path / "tiny.pt", converted)

    # Whisper's feed-forward layers are four times as wide as its others; the tiny one's are twice.
    config = json.loads((converted / "config.json").read_text())
    (converted / "config.json").write_text(json.dumps(config | {"encoder_ffn_dim": 32}))
    sounds = [sound(1, rate=16_000), sound(2.5, rate=16_000)]
    np.testing.assert_allclose(
        opened(ws, converted).extract(sounds), opened(ws, folder).extract(sounds), atol=1e-5
    )


def test_another_checkpoint_is_no_whisper(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.pt")

    with pytest.raises(UnreadableSource, match="a checkpoint of OpenAI's Whisper"):
        convert_whisper(tmp_path / "other.pt", tmp_path)


def test_pooling_changes_the_vector_and_its_fingerprint_but_not_the_features(
    ws: Workspace, folder: Path
) -> None:
    FAMILIES["hubert"](folder)
    mean, last, first = (opened(ws, folder, pooling=name) for name in ("mean", "last", "layer:0"))
    features = mean.extract([sound(3)])

    assert len({encoder.card.fingerprint for encoder in (mean, last, first)}) == 3
    assert len({encoder.feature_fingerprint for encoder in (mean, last, first)}) == 1
    unit = features[0, -1] / np.linalg.norm(features[0, -1])
    np.testing.assert_allclose(last.fuse(features)[0], unit, atol=1e-6)
    np.testing.assert_array_equal(first.extract([sound(3)]), features)


@pytest.mark.parametrize(
    "option",
    [
        {"pooling": "layer:3"},
        {"pooling": 3},
        {"window_s": 0},
        {"window_s": "long"},
        {"overlap": 1},
        {"precision": "int8"},
        {"height": 3},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(ws: Workspace, folder: Path, option: dict[str, Any]) -> None:
    FAMILIES["hubert"](folder)

    with pytest.raises(InvalidInput):
        opened(ws, folder, **option)


def test_mel_filters_are_those_of_transformers() -> None:
    from transformers.audio_utils import mel_filter_bank

    slaney = mel_filter_bank(201, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    htk = mel_filter_bank(513, 64, 50.0, 14_000.0, 48_000, norm=None, mel_scale="htk")

    np.testing.assert_allclose(mel_filters(201, 80, 0, 8000, 16_000), slaney.T, atol=1e-7)
    np.testing.assert_allclose(mel_filters(513, 64, 50, 14_000, 48_000, htk=True), htk.T, atol=1e-6)


def test_a_tone_is_loudest_in_its_own_band() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)[None]

    power = mel_power(tone, torch.from_numpy(mel_filters(201, 40, 0, 8000, 16_000)), 400, 160)

    centres = np.linspace(0, 15 + np.log(8) / (np.log(6.4) / 27), 42)[1:-1]  # in mels; 1 kHz is 15
    assert power.mean(dim=2).argmax().item() == np.abs(centres - 15).argmin()
