"""The recurrent towers, served by torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.tensors import map_tensors
from encoders.two_tower.architecture import Architecture, Side
from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.served import TENSORS_FILE
from encoders.two_tower.texts import texts_of
from encoders.two_tower.towers import Texts, TwoTower
from encoders.two_tower.vocabulary import VOCABULARY_FILE, Vocabulary
from encoders.two_tower.words import is_longer
from encoders.vectors import unit_rows
from retrieval.content import Content
from retrieval.errors import IncompatibleModel

_BATCH_TEXTS = 256


class RecurrentEncoder:
    """A two-tower encoder of kind `rnn` or `gru`. Threads may share it.

    A text's vector does not depend on the batch but for the order of additions: below 1e-5 a number.
    """

    def __init__(self, card: EncoderCard, folder: Path) -> None:
        """Load the model's files; `read_card` has checked their bytes.

        Raises:
            CorruptArtifact: if a file is not what it claims.
            IncompatibleModel: if the tensors do not fit the card.
        """
        self._card = card
        shape = Architecture.from_card(card.architecture)
        self._vocabulary = Vocabulary.read(folder / VOCABULARY_FILE)
        if len(self._vocabulary) != shape.rows or card.dims != shape.dims:
            raise IncompatibleModel(
                f"the card promises {shape.rows} words, the vocabulary has {len(self._vocabulary)}"
            )
        self._model = TwoTower(shape, train_table=False).eval()
        tensors = {name: torch.from_numpy(t.copy()) for name, t in map_tensors(folder / TENSORS_FILE).items()}
        if shape.shared:
            tensors |= {key.replace("query.", "item.", 1): t for key, t in tensors.items() if key[0] == "q"}
        try:
            self._model.load_state_dict(tensors, assign=True)
        except RuntimeError as error:
            raise IncompatibleModel("the tensors do not fit the architecture on the card") from error

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        return self._card

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode queries, as `Encoder` says."""
        return self._encode("query", contents)

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode items, as `Encoder` says."""
        return self._encode("item", contents)

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell which texts are longer than the card's `max_words`."""
        return [is_longer(content.text, self._card.max_words) for content in contents]

    @torch.inference_mode()
    def _encode(self, side: Side, contents: Sequence[Content]) -> NDArray[np.float32]:
        limit = self._card.max_words
        rows = [self._vocabulary.text_rows(text, limit) for text in texts_of(self._card, contents)]
        texts = RaggedTexts.pack(rows)
        vectors = np.empty((len(rows), self._card.dims), np.float32)
        by_length = np.argsort(np.diff(texts.starts), kind="stable")  # little padding within a batch
        for start in range(0, len(rows), _BATCH_TEXTS):
            numbers = by_length[start : start + _BATCH_TEXTS]
            vectors[numbers] = self._model.encode(side, Texts.of(texts.take(numbers))).numpy()
        return unit_rows(vectors)
