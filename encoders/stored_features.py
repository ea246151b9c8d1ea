"""An encoder without a model: it stands for features that were imported, whose frozen model is not here.

A layer fusion trains on it and fuses what is stored, so a collection can be indexed and searched by its own
items; a new sound needs the frozen model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.media.specs import AudioSpec, DecodeSpec
from encoders.vectors import unit_rows
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel, ModalityNotServed

KIND = "stored_features"
SAMPLE_RATE = 24_000  # Hz; nothing is ever decoded for it


def stored_features_card(name: str, version: int, origin: str, layers: int, width: int) -> EncoderCard:
    """Describe features of a shape.

    Args:
        name: of the model.
        version: of the model.
        origin: the frozen model that made them, as told, such as "MERT-v1-95M"; part of the fingerprint.
        layers: of each sound.
        width: of each layer.
    """
    return EncoderCard(
        kind=KIND,
        name=name,
        version=version,
        modalities=(Modality.AUDIO.value,),
        dims=width,
        max_words=0,
        architecture={"layers": layers, "width": width, "origin": origin},
    )


class StoredFeatures:
    """Implements `encoders.encoder.LayeredEncoder`, but for what needs a model."""

    def __init__(self, card: EncoderCard) -> None:
        """Read the shape from the card.

        Raises:
            IncompatibleModel: if it tells none.
        """
        try:
            self._shape = (int(card.architecture["layers"]), int(card.architecture["width"]))
        except (KeyError, TypeError, ValueError) as error:
            raise IncompatibleModel(f"model {card.name}@{card.version}: its card tells no shape") from error
        self._card = card

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        return self._card

    @property
    def decode_specs(self) -> Mapping[Modality, DecodeSpec]:
        """Sounds, though none can be read."""
        return {Modality.AUDIO: AudioSpec(sample_rate=SAMPLE_RATE)}

    @property
    def feature_fingerprint(self) -> str:
        """The card's."""
        return self._card.fingerprint

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(layers, width)."""
        return self._shape

    def extract(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Refuse.

        Raises:
            ModalityNotServed: unless there is nothing to do.
        """
        if contents:
            raise ModalityNotServed(
                f"model {self._card.name}@{self._card.version} stands for imported features: to encode a "
                "sound, add the model that made them, and import them again with --backbone"
            )
        return np.zeros((0, *self._shape), np.float32)

    def fuse(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Average the layers."""
        return unit_rows(np.asarray(features.mean(axis=1), np.float32))

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Refuse, as `extract` does."""
        return self.fuse(self.extract(contents))

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Refuse, as `extract` does."""
        return self.fuse(self.extract(contents))

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Nothing is read, so nothing is cut."""
        return [False] * len(contents)


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    return StoredFeatures(card)
