"""The recurrent towers, served by torch."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.tensors import map_tensors
from encoders.two_tower.architecture import Side
from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.text_encoder import TENSORS_FILE, TextEncoder
from encoders.two_tower.towers import Texts, TwoTower
from retrieval.errors import IncompatibleModel

_BATCH_TEXTS = 256


class RecurrentEncoder(TextEncoder):
    """A two-tower encoder of kind `rnn` or `gru`. Threads may share it.

    A text's vector does not depend on the batch but for the order of additions: below 1e-5 a number.
    """

    def __init__(self, card: EncoderCard, folder: Path) -> None:
        """Load the model's files; `read_card` has checked their bytes.

        Raises:
            CorruptArtifact: if a file is not what it claims.
            IncompatibleModel: if the tensors do not fit the card.
        """
        super().__init__(card, folder)
        self._model = TwoTower(self._shape, train_table=False).eval()
        tensors = {name: torch.from_numpy(t.copy()) for name, t in map_tensors(folder / TENSORS_FILE).items()}
        if self._shape.shared:
            tensors |= {key.replace("query.", "item.", 1): t for key, t in tensors.items() if key[0] == "q"}
        try:
            self._model.load_state_dict(tensors, assign=True)
        except RuntimeError as error:
            raise IncompatibleModel("the tensors do not fit the architecture on the card") from error

    @torch.inference_mode()
    def _encode(self, side: Side, texts: list[list[int]]) -> NDArray[np.float32]:
        packed = RaggedTexts.pack(texts)
        vectors = np.empty((len(texts), self._card.dims), np.float32)
        by_length = np.argsort(np.diff(packed.starts), kind="stable")  # little padding within a batch
        for start in range(0, len(texts), _BATCH_TEXTS):
            numbers = by_length[start : start + _BATCH_TEXTS]
            vectors[numbers] = self._model.encode(side, Texts.of(packed.take(numbers))).numpy()
        return vectors
