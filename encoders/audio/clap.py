"""CLAP (Wu et al. 2022, arXiv:2211.06687): texts and sounds in one space.

A sound is cut into windows of ten seconds whose vectors are averaged. The model's own way with longer
sounds is a random window, which gives another vector every time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.audio.spectrogram import mel_filters, mel_power
from encoders.audio.windows import windows
from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.media.describing import describe_pair
from encoders.media.paired import PairedEncoder, pooled, rows, transformer_bytes
from encoders.media.sides import decoded
from encoders.media.specs import AudioSpec
from encoders.media.texts import TOKENIZER_FILE, TextSide
from encoders.memory import in_batches
from encoders.pretrained.description import Description
from encoders.pretrained.hub import CONFIG_FILE, read_json
from encoders.pretrained.opening import need_transformers, open_model, read_config, require_transformers
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel, UnreadableSource

if TYPE_CHECKING:
    from torch import Tensor

KIND = "clap"
PREPROCESSOR_FILE = "preprocessor_config.json"
MAX_SECONDS = 3600.0
MOST_WINDOWS = 8  # together; more are not faster
FUSION_INPUTS = (
    4  # a model with feature fusion takes a whole and three parts; of ten seconds all are the same
)


def describe(folder: Path, *, precision: str = "auto") -> Description:
    """Describe a CLAP model, as `Family` says.

    Args:
        folder: with config.json, the weights, tokenizer.json and preprocessor_config.json.
        precision: `auto` (bfloat16 where the device computes in it) or `float32`.
    """
    require_transformers(f"the model in {folder.name!r}")
    from transformers import ClapConfig

    config = read_config(ClapConfig, read_json(folder / CONFIG_FILE))
    text = config.text_config
    frames = _frames(folder, fusion=bool(config.audio_config.enable_fusion))
    return describe_pair(
        folder,
        kind=KIND,
        media=Modality.AUDIO,
        dims=config.projection_dim,
        max_tokens=text.max_position_embeddings - text.pad_token_id - 1,  # RoBERTa counts after its padding
        preprocessing={**frames, "max_seconds": MAX_SECONDS},
        precision=precision,
    )


def _frames(folder: Path, *, fusion: bool) -> dict[str, Any]:
    told = read_json(folder / PREPROCESSOR_FILE)
    if (told.get("truncation", "fusion") == "fusion") != fusion or told.get("top_db") is not None:
        raise IncompatibleModel(f"{PREPROCESSOR_FILE}: truncation or top_db does not fit the model's config")
    names = {
        "sample_rate": "sampling_rate",
        "window_s": "max_length_s",
        "fft": "fft_window_size",
        "hop": "hop_length",
        "mels": "feature_size",
        "low_hz": "frequency_min",
        "high_hz": "frequency_max",
    }
    try:
        frames = {ours: told[theirs] for ours, theirs in names.items()}
        if not all(value > 0 or ours == "low_hz" for ours, value in frames.items()):
            raise ValueError(frames)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableSource(
            f"{PREPROCESSOR_FILE}: expected numbers above 0 for {', '.join(names.values())}"
        ) from error
    return frames


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    need_transformers(card)
    from transformers import ClapModel

    model = open_model(ClapModel, card, folder)
    told = card.preprocessing
    text = TextSide(
        folder / TOKENIZER_FILE,
        max_tokens=told["max_tokens"],
        compute=lambda ids: pooled(model.get_text_features(input_ids=ids)),
        device=model.device,
        bytes_per_token=transformer_bytes(model.config.text_config),
    )
    spec = AudioSpec(sample_rate=told["sample_rate"], max_seconds=told["max_seconds"])
    return PairedEncoder(card, text, Modality.AUDIO, spec, Sounds(model, told))


class Sounds:
    """The sound side."""

    def __init__(self, model: Any, preprocessing: Mapping[str, Any]) -> None:
        """Wrap an opened model; `preprocessing` is the card's."""
        told = preprocessing
        self._model, self._told = model, told
        self._fusion = bool(model.config.audio_config.enable_fusion)
        self._length = round(told["window_s"] * told["sample_rate"])
        self._filters = mel_filters(
            told["fft"] // 2 + 1,
            told["mels"],
            told["low_hz"],
            told["high_hz"],
            told["sample_rate"],
            htk=self._fusion,  # each kind of model was trained with its own filters
        )

    def __call__(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode sounds: the mean of their windows' unit vectors, shape (n, dims)."""
        held = [windows(self._filled(decoded(content)), self._length, self._length) for content in contents]
        cut = [window for one in held for window in one]
        counts = [len(one) for one in held]
        spectrogram = self._length // self._told["hop"] * self._told["mels"]
        vectors = in_batches(self._features, cut, bytes_each=4 * 256 * spectrogram, most=MOST_WINDOWS)
        starts = np.cumsum([0, *counts[:-1]])
        return np.asarray(np.add.reduceat(vectors, starts) / np.array(counts, np.float32)[:, None])

    def _filled(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Repeat a short sound as often as it fits, then silence: as the model was trained."""
        if len(samples) >= self._length:
            return samples
        filled = np.zeros(self._length, np.float32)
        repeated = np.tile(samples, self._length // len(samples))
        filled[: len(repeated)] = repeated
        return filled

    def _features(self, cut: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            frames = self._decibels(torch.from_numpy(np.stack(cut)).to(self._model.device))
            inputs = frames.to(self._model.dtype)[:, None]  # (n, 1, frames, mels)
            if self._fusion:
                inputs = inputs.expand(-1, FUSION_INPUTS, -1, -1)
            longer = torch.zeros((len(cut), 1), dtype=torch.bool, device=inputs.device)
            return rows(self._model.get_audio_features(input_features=inputs, is_longer=longer))

    def _decibels(self, samples: "Tensor") -> "Tensor":
        """Return the level in each mel band over time, shape (n, frames, mels)."""
        import torch

        filters = torch.from_numpy(self._filters).to(samples.device)
        power = mel_power(samples, filters, self._told["fft"], self._told["hop"])
        return (10 * power.log10()).transpose(1, 2)
