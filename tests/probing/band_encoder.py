"""A small real encoder with two layers: how loud each band is, and how much it changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from encoders.artifacts import write_model
from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.media.specs import AudioSpec, DecodeSpec
from encoders.probing.spectrum import BANDS, SAMPLE_RATE, spectra_of
from encoders.vectors import unit_rows
from retrieval.content import Content, Modality
from retrieval.registry import model_folder, register_model
from retrieval.workspace import Workspace

KIND = "bands"


class BandEncoder:
    """Implements `encoders.encoder.LayeredEncoder`."""

    decode_specs: ClassVar[Mapping[Modality, DecodeSpec]] = {
        Modality.AUDIO: AudioSpec(sample_rate=SAMPLE_RATE)
    }
    feature_shape = (2, BANDS)
    feature_fingerprint = "bands" * 8
    extracted = 0  # contents, of all encoders

    def __init__(self, card: EncoderCard) -> None:
        self.card = card

    def extract(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        BandEncoder.extracted += len(contents)
        return np.stack([_layers(content) for content in contents])

    def fuse(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return unit_rows(features.mean(axis=1) + np.float32(1e-3))

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        return self.fuse(self.extract(contents))

    encode_items = encode_queries

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        return [False] * len(contents)


def _layers(content: Content) -> NDArray[np.float32]:
    assert content.decoded is not None
    levels = np.log10(spectra_of(content.decoded).bands + 1e-3)
    return np.stack([levels.mean(axis=0), levels.std(axis=0)]).astype(np.float32)


def load(card: EncoderCard, _folder: Path) -> Encoder:
    """Open it, as `encoders.loading` asks."""
    return BandEncoder(card)


def add_encoder(ws: Workspace) -> EncoderCard:
    """Register it."""
    card = EncoderCard(kind=KIND, name=KIND, version=1, modalities=("audio",), dims=BANDS, max_words=0)
    card = write_model(model_folder(ws, KIND, 1), card, {})
    register_model(ws, KIND, 1, KIND, card.fingerprint, {})
    return card
