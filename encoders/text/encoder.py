"""Sentence encoders: a text's tokens through a transformer, pooled into one unit vector."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.text.architecture import Side
from encoders.text.packing import batches
from encoders.text.tokenizing import Tokenizer
from encoders.vectors import unit_rows
from retrieval.content import Content, Modality
from retrieval.errors import ModalityNotServed


class Runtime(Protocol):
    """Runs a transformer, in whatever library."""

    def run(self, texts: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Encode the token ids of texts, at least one, none empty: vectors of any length, (n, width)."""
        ...


class SentenceEncoder:
    """Implements `encoders.encoder.Encoder`. Threads may share it.

    A text's vector does not depend on its batch but for the order of additions: below 1e-6 a number in
    float32; in bfloat16, whose numbers are rounded again in every layer, below 3e-3.
    """

    def __init__(self, card: EncoderCard, tokenizer: Tokenizer, runtimes: Mapping[Side, Runtime]) -> None:
        """Put the parts together; the sides may share a runtime."""
        self._card = card
        self._tokenizer = tokenizer
        self._runtimes = runtimes
        self._prefixes: Mapping[Side, str] = {
            "query": card.preprocessing["query_prefix"],
            "item": card.preprocessing["item_prefix"],
        }

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
        """Tell which texts have more tokens than are read, the item's prefix included."""
        return self._tokenizer.truncates([self._prefixes["item"] + content.text for content in contents])

    def _encode(self, side: Side, contents: Sequence[Content]) -> NDArray[np.float32]:
        for content in contents:
            if content.modality is not Modality.TEXT:
                raise ModalityNotServed(
                    f"encoder {self._card.name}@{self._card.version} takes text, got {content.modality.value}"
                )
        vectors = np.empty((len(contents), self._card.dims), np.float32)
        ids = self._tokenizer.ids([self._prefixes[side] + content.text for content in contents])
        for numbers in batches([len(text) for text in ids]):
            vectors[numbers] = self._runtimes[side].run([ids[number] for number in numbers])
        return unit_rows(vectors)
