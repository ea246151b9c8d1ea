"""What the encoders of all towers share: a card, a vocabulary, and texts as rows of the word table."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.two_tower.architecture import Architecture, Side
from encoders.two_tower.vocabulary import VOCABULARY_FILE, Vocabulary
from encoders.two_tower.words import is_longer
from encoders.vectors import unit_rows
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel, ModalityNotServed

TENSORS_FILE = "tower.safetensors"


class TextEncoder(ABC):
    """A two-tower encoder without its towers. Implements `encoders.encoder.Encoder`."""

    def __init__(self, card: EncoderCard, folder: Path) -> None:
        """Read the vocabulary; `read_card` has checked the files' bytes.

        Raises:
            CorruptArtifact: if it is not what it claims.
            IncompatibleModel: if it does not fit the card.
        """
        self._card = card
        self._shape = Architecture.from_card(card.architecture)
        self._vocabulary = Vocabulary.read(folder / VOCABULARY_FILE)
        if len(self._vocabulary) != self._shape.rows or card.dims != self._shape.dims:
            raise IncompatibleModel(
                f"the card promises {self._shape.rows} words and {card.dims} dimensions, the vocabulary has "
                f"{len(self._vocabulary)} and the architecture {self._shape.dims}"
            )

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        return self._card

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode queries, as `Encoder` says."""
        return unit_rows(self._encode("query", self._table_rows(contents)))

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode items, as `Encoder` says."""
        return unit_rows(self._encode("item", self._table_rows(contents)))

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell which texts are longer than the card's `max_words`."""
        return [is_longer(content.text, self._card.max_words) for content in contents]

    @abstractmethod
    def _encode(self, side: Side, texts: list[list[int]]) -> NDArray[np.float32]:
        """Encode texts, none of them empty, given as rows of the word table.

        Returns:
            Vectors of any length, shape (n, dims).
        """

    def _table_rows(self, contents: Sequence[Content]) -> list[list[int]]:
        for content in contents:
            if content.modality is not Modality.TEXT:
                raise ModalityNotServed(
                    f"encoder {self._card.name}@{self._card.version} takes text, got {content.modality.value}"
                )
        limit, vocabulary = self._card.max_words, self._vocabulary
        return [vocabulary.text_rows(content.text, limit) for content in contents]
