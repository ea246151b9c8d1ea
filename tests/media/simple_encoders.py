"""Small real encoders of media: colours of pictures, and pitches of sounds in layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from encoders.artifacts import write_model
from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.media.specs import AudioSpec, DecodeSpec, ImageSpec
from encoders.vectors import unit_rows
from retrieval.content import Content, Modality
from retrieval.registry import model_folder, register_model
from retrieval.workspace import Workspace

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}
RATE = 8000
LOADER = "tests.media.simple_encoders"


class ColourEncoder:
    """The mean colour of a picture, and the colour that a text names."""

    decode_specs: ClassVar[Mapping[Modality, DecodeSpec]] = {Modality.IMAGE: ImageSpec(height=8, width=8)}

    def __init__(self, card: EncoderCard) -> None:
        self.card = card
        self.decoded = 0  # pictures seen

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        return unit_rows(np.array([self._colour(content) for content in contents], np.float32).reshape(-1, 4))

    encode_items = encode_queries

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        return [False] * len(contents)

    def _colour(self, content: Content) -> NDArray[np.float32]:
        if content.decoded is None:
            return np.array([*COLOURS.get(content.text, (0, 0, 0)), 0.01], np.float32)
        self.decoded += 1
        return np.array([*content.decoded.reshape(-1, 3).mean(axis=0) / 255, 0.01], np.float32)


class PitchEncoder:
    """The energy of a sound in four bands, louder (layer 0) and as it is (layer 1)."""

    decode_specs: ClassVar[Mapping[Modality, DecodeSpec]] = {Modality.AUDIO: AudioSpec(sample_rate=RATE)}
    feature_shape = (2, 4)

    def __init__(self, card: EncoderCard) -> None:
        self.card = card
        self.feature_fingerprint = "pitch" * 8

    def extract(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        return np.stack([np.stack([_bands(c.decoded) * 2, _bands(c.decoded)]) for c in contents])

    def fuse(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return unit_rows(features[:, int(self.card.architecture["layer"])] + 1e-6)

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        return self.fuse(self.extract(contents))

    encode_items = encode_queries

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        return [False] * len(contents)


def _bands(samples: NDArray[np.float32] | None) -> NDArray[np.float32]:
    assert samples is not None
    spectrum = np.abs(np.fft.rfft(samples, 2 * len(samples)))
    bands: NDArray[np.float32] = np.array([part.mean() for part in np.array_split(spectrum, 4)], np.float32)
    return bands


def load(card: EncoderCard, _folder: Path) -> Encoder:
    """Open one of them, as `encoders.loading` asks."""
    return ColourEncoder(card) if card.kind == "colour" else PitchEncoder(card)


def add_encoder(ws: Workspace, kind: str, *, name: str = "", layer: int = 1) -> EncoderCard:
    """Register a colour or a pitch encoder."""
    name = name or kind
    modalities = ("text", "image") if kind == "colour" else ("audio",)
    card = EncoderCard(
        kind=kind,
        name=name,
        version=1,
        modalities=modalities,
        dims=4,
        max_words=0,
        architecture={"layer": layer},
    )
    card = write_model(model_folder(ws, name, 1), card, {})
    register_model(ws, name, 1, kind, card.fingerprint, {})
    return card
