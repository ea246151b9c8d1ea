"""The contract of every encoder: content in, unit vectors out."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from retrieval.content import Content


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
