"""The contract of every encoder: content in, unit vectors out."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.media.specs import DecodeSpec
from retrieval.content import Content, Modality


class Encoder(Protocol):
    """Turns content into unit vectors that can be compared by their dot product.

    The query side and the item side may differ (two towers) or be one. The same content always gives
    the same vector, whatever else is in the batch. Instances may be called from several threads.

    A new encoder is done when it passes tests/encoders/test_encoder_contract.py.
    """

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        ...

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode queries: unit rows, shape (n, dims), n may be 0.

        Raises:
            ModalityNotServed: if a content's modality is not on the card.
            EncoderFault: if a vector comes out with NaN or infinity.
        """
        ...

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode items: unit rows, shape (n, dims). Raises as `encode_queries` does."""
        ...

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell for each content whether the encoder reads only its beginning."""
        ...


@runtime_checkable
class MediaEncoder(Encoder, Protocol):
    """An encoder that takes media: contents of these modalities come to it with `decoded` filled.

    `encoders.media.preparing.prepare` fills it, in limited child processes.
    """

    @property
    def decode_specs(self) -> Mapping[Modality, DecodeSpec]:
        """How each modality but text is to be decoded."""
        ...


@runtime_checkable
class LayeredEncoder(MediaEncoder, Protocol):
    """An encoder in two steps: a frozen model makes features, which are kept, and a small one fuses them.

    Encoders over the same frozen model share its features: an index of a new fusion decodes nothing.
    """

    @property
    def feature_fingerprint(self) -> str:
        """Identifies what makes the features: the card's fingerprint of the frozen model."""
        ...

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(layers, width) of a content's features."""
        ...

    def extract(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Run the frozen model: shape (n, layers, width)."""
        ...

    def fuse(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn features, shape (n, layers, width), into unit rows, shape (n, dims)."""
        ...


@runtime_checkable
class DerivedEncoder(Encoder, Protocol):
    """An encoder whose vectors of items can be made from those of another one, where these are stored."""

    @property
    def bases(self) -> Mapping[Modality, str]:
        """By modality, the fingerprint of the encoder whose vectors of items it starts from."""
        ...

    def derive(self, modality: Modality, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Make its vectors, shape (n, dims), from those of the base, shape (n, width)."""
        ...
