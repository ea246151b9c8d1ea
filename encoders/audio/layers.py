"""Encoders that keep every layer of an audio model: HuBERT (MERT), wav2vec2, Whisper.

The features of a sound are the states of each layer, averaged over time and windows. Its own vector is the
mean of the layers that `pooling` names; better mixtures are learned (`train layer-fusion`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.audio.description import describe_layers
from encoders.audio.frozen import FrozenModel
from encoders.audio.pooling import pooled_layers
from encoders.audio.windows import windows
from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.media.paired import fills
from encoders.media.sides import check_modalities, decoded
from encoders.media.specs import AudioSpec, DecodeSpec
from encoders.memory import in_batches
from encoders.pretrained.description import Description
from encoders.vectors import unit_rows
from retrieval.content import Content, Modality

SHORTEST_S = 0.1  # what is shorter is repeated: the convolutions need some samples
MOST_WINDOWS = 16  # together; more are not faster


class AudioLayers:
    """Implements `encoders.encoder.LayeredEncoder`."""

    def __init__(self, card: EncoderCard, model: FrozenModel) -> None:
        """Wrap an opened model."""
        self._card, self._model = card, model
        told = card.preprocessing
        self._spec = AudioSpec(sample_rate=told["sample_rate"], max_seconds=told["max_seconds"])
        self._length = round(told["window_s"] * told["sample_rate"])
        self._hop = round(told["hop_s"] * told["sample_rate"])
        self._layers = pooled_layers(card.architecture["pooling"], card.architecture["layers"])

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        return self._card

    @property
    def decode_specs(self) -> Mapping[Modality, DecodeSpec]:
        """Mono samples at the model's own rate."""
        return {Modality.AUDIO: self._spec}

    @property
    def feature_fingerprint(self) -> str:
        """The card's, but for what is made of the features."""
        frozen = {name: value for name, value in self._card.architecture.items() if name != "pooling"}
        return replace(self._card, architecture=frozen).fingerprint

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(layers, width), the layers counted from what enters the first one."""
        return self._card.architecture["layers"], self._card.architecture["width"]

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode queries, as `Encoder` says."""
        return self.fuse(self.extract(contents))

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode items, as `Encoder` says."""
        return self.fuse(self.extract(contents))

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell which sounds fill all the seconds that are decoded."""
        return [fills(content, self._spec) for content in contents]

    def extract(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Run the frozen model, as `LayeredEncoder` says: windows of equal length go together."""
        check_modalities(self._card, contents, self.decode_specs)
        sums = np.zeros((len(contents), *self.feature_shape), np.float32)
        owners: dict[int, list[int]] = {}  # of windows that go together: the content of each
        pieces: dict[int, list[NDArray[np.float32]]] = {}
        counts = np.zeros((len(contents), 1, 1), np.float32)
        for place, content in enumerate(contents):
            cut = windows(self._long_enough(decoded(content)), self._length, self._hop)
            counts[place] = len(cut)
            group = self._model.together(len(cut[0]))
            owners.setdefault(group, []).extend([place] * len(cut))
            pieces.setdefault(group, []).extend(cut)
        for group, cut in pieces.items():
            memory = self._model.bytes_of(len(cut[0]))
            states = in_batches(self._model, cut, bytes_each=memory, most=MOST_WINDOWS)
            np.add.at(sums, owners[group], states)
        return sums / counts

    def fuse(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Average the layers that the card's `pooling` names."""
        return unit_rows(features[:, self._layers].mean(axis=1))

    def _long_enough(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        shortest = round(SHORTEST_S * self._spec.sample_rate)
        if len(samples) >= shortest:
            return samples
        return np.tile(samples, -(-shortest // len(samples)))[:shortest]


def describe(
    folder: Path,
    *,
    pooling: str = "mean",
    window_s: float | None = None,
    overlap: float | None = None,
    precision: str = "auto",
) -> Description:
    """Describe an audio model, as `Family` says.

    Args:
        folder: with config.json, the weights and preprocessor_config.json.
        pooling: which layers its own vector is the mean of: `mean` (all), `last`, `layer:N`.
        window_s: seconds that the model hears at a time; 5 for models of the wave, 30 for Whisper.
        overlap: of windows, 0 to below 1; 0.5 for models of the wave, 0 for Whisper.
        precision: `auto` (bfloat16 where the device computes in it) or `float32`.
    """
    return describe_layers(folder, pooling, window_s, overlap, precision)


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    from encoders.audio.opening import open_frozen

    return AudioLayers(card, open_frozen(card, folder))
