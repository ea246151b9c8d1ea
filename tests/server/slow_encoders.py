"""Real encoders that can be made to wait or fail, to fill queues and to break warm-ups."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.loading import load_encoder
from retrieval.content import Content
from retrieval.errors import EncoderFault


class GatedEncoder:
    """Encodes as another encoder does, once the gate is open."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()  # set while an encoding waits at the gate
        self.batches: list[int] = []

    @property
    def card(self) -> EncoderCard:
        return self._encoder.card

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        self.busy.set()
        self.gate.wait(20)
        self.busy.clear()
        self.batches.append(len(contents))
        if any("poison" in content.text for content in contents):
            raise EncoderFault("a vector with NaN came out")
        return self._encoder.encode_queries(contents)

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        self.gate.wait(20)
        return self._encoder.encode_items(contents)

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        return self._encoder.truncates(contents)


class Gated:
    """Loads encoders with a gate, and keeps hold of the last."""

    def __init__(self) -> None:
        self.encoder: GatedEncoder | None = None

    def __call__(self, folder: Path) -> Encoder:
        self.encoder = GatedEncoder(load_encoder(folder))
        return self.encoder
