"""Opening the frozen audio models."""

from pathlib import Path
from typing import Any

from encoders.audio.frozen import FrozenModel, WaveModel, WhisperModel
from encoders.card import EncoderCard
from encoders.pretrained.opening import need_transformers, open_model
from retrieval.errors import IncompatibleModel


def open_frozen(card: EncoderCard, folder: Path) -> FrozenModel:
    """Open the model of a folder whose files were checked. Raises as `load_encoder` does."""
    need_transformers(card)
    family = card.architecture.get("family")
    if family == "whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        told = card.preprocessing
        model = open_model(WhisperEncoder, card, folder)
        return WhisperModel(model, fft=told["fft"], hop=told["hop"], sample_rate=told["sample_rate"])
    model = open_model(_wave_class(str(family)), card, folder)
    return WaveModel(model, normalise=card.preprocessing["normalise"])


def _wave_class(family: str) -> Any:
    if family == "hubert":
        from transformers import HubertModel

        return HubertModel
    if family == "wav2vec2":
        from transformers import Wav2Vec2Model

        return Wav2Vec2Model
    raise IncompatibleModel(f"nothing here computes the layers of a {family!r} model")
