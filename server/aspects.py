"""Searches by aspect over one loaded version: what reads aspects is opened by the first of them."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.aspects import KIND, AspectReader, NotProbed, load_reader, model_name
from encoders.encoder import Encoder, LayeredEncoder
from encoders.memory import encode_within_memory
from retrieval.aspect_readings import AspectQuery, AspectReadings
from retrieval.content import Content
from retrieval.errors import FailedPrecondition
from retrieval.registry import list_models
from retrieval.workspace import Workspace
from server.prepared import PreparedEncoder

Vector = NDArray[np.float32]


class NoLayers(FailedPrecondition):
    """The live encoder keeps no layers that aspects could be read from."""

    reason = "NO_LAYERS"


@dataclass(frozen=True, slots=True)
class _Open:
    reader: AspectReader
    readings: AspectReadings


class Aspects:
    """Reads aspects with the newest reader that was fitted on the collection. May be shared by threads."""

    def __init__(
        self, ws: Workspace, collection: str, encoder: Encoder | None, window_s: float = 0.0
    ) -> None:
        """Take an encoder, and the length of the version's windows; nothing is opened yet."""
        self._ws = ws
        self._collection = collection
        self._window_s = window_s
        self._encoder = encoder.layered if isinstance(encoder, PreparedEncoder) else None
        self._lock = threading.Lock()
        self._opened: dict[str, _Open | None] = {}  # by the model's fingerprint; None: of other features

    def encode(self, contents: Sequence[Content]) -> tuple[Vector, Vector]:
        """Run the model over sounds that are decoded.

        Returns:
            Their vectors, shape (n, dims), and what is read from them, shape (n, targets).

        Raises:
            NoLayers: if the encoder keeps none.
            NotProbed: if nothing reads aspects from them yet.
        """
        encoder, opened = self._layered(), self._open()
        features = encode_within_memory(encoder.extract, contents)
        return encoder.fuse(features), opened.reader.read(features)

    def query(self, aspects: Mapping[str, float], wanted: Vector | None, item_id: str) -> AspectQuery | None:
        """Describe a search.

        Args:
            aspects: weights by name.
            wanted: what was read from the content that is asked by; None to ask by an item.
            item_id: of that item.

        Returns:
            The search; None if the item has no features yet.

        Raises:
            InvalidInput: if an aspect does not exist, or its weight cannot be.
            AspectUnknown: if no layer knows one of them.
            NoLayers, NotProbed: as `encode` does.
        """
        opened = self._open()
        weights = opened.reader.target_weights(aspects)
        if wanted is None:
            wanted = opened.readings.of_item(item_id)
        return None if wanted is None else AspectQuery(opened.readings, wanted, weights)

    def _layered(self) -> LayeredEncoder:
        if self._encoder is None or self._ws.mirrors_redis:
            raise NoLayers(
                f"aspects: the server of {self._collection!r} holds no layers: expected an encoder of sounds"
                " such as Whisper or MERT, and the database that its features are in"
            )
        return self._encoder

    def _open(self) -> _Open:
        """Return what reads aspects now: a probing may have come since."""
        encoder = self._layered()
        for model in list_models(self._ws):
            if model.kind != KIND or model.name != model_name(self._collection):
                continue
            with self._lock:
                if model.fingerprint not in self._opened:
                    self._opened[model.fingerprint] = self._load(load_reader(model.folder), encoder)
                opened = self._opened[model.fingerprint]
            if opened is not None:
                return opened
        raise NotProbed(
            f"aspects: nobody knows yet what the layers of {encoder.card.name!r} know of"
            f" {self._collection!r}: run `twinspire probe`"
        )

    def _load(self, reader: AspectReader, encoder: LayeredEncoder) -> _Open | None:
        features = encoder.feature_fingerprint
        if reader.card.architecture["features"] != features:
            return None
        readings = AspectReadings(
            self._ws,
            self._collection,
            readings=reader.card.fingerprint,
            features=features,
            targets=reader.card.dims,
            read=reader.read,
            window_s=self._window_s,
        )
        return _Open(reader, readings)
