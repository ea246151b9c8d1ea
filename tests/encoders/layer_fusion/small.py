"""A frozen model of three layers, of which only the middle one knows the label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.media.specs import AudioSpec, DecodeSpec
from encoders.training.fusion_config import LayerFusionConfig
from retrieval.content import Content, Modality

torch.set_num_threads(1)

LAYERS, WIDTH = 3, 8
LABELS = ("red", "green", "blue")
QUICK = LayerFusionConfig(dims=4, epochs=8, patience=4, batch_size=16, folds=3, learning_rate=0.01)


@dataclass(frozen=True)
class SmallFrozen:
    """Its features are the samples themselves."""

    card: EncoderCard
    feature_fingerprint: str = "frozen"
    feature_shape: tuple[int, int] = (LAYERS, WIDTH)

    @property
    def decode_specs(self) -> Mapping[Modality, DecodeSpec]:
        return {Modality.AUDIO: AudioSpec(sample_rate=8000)}

    def extract(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        return np.stack([np.resize(content.decoded, self.feature_shape) for content in contents])  # type: ignore[arg-type]

    def fuse(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(features.mean(axis=1))

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        return self.fuse(self.extract(contents))

    encode_queries = encode_items

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        return [False] * len(contents)


@dataclass(frozen=True)
class Sound:
    """An item to be."""

    id: str
    attributes: Mapping[str, str | int]


def sounds(works: int = 8, movements: int = 2) -> list[Sound]:
    """Each label has some works of some movements."""
    return [
        Sound(f"{label}-{work}-{part}", {"colour": label, "work": f"{label} {work}", "number": 10 * place})
        for place, label in enumerate(LABELS)
        for work in range(works)
        for part in range(movements)
    ]


def features_of(items: Sequence[Sound], seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    features = random.normal(size=(len(items), LAYERS, WIDTH)) * 4
    for row, item in zip(features, items, strict=True):
        row[1] /= 8
        if "colour" in item.attributes:
            row[1, LABELS.index(str(item.attributes["colour"]))] += 2.0
    return features.astype(np.float32)


def quick(**changes: object) -> LayerFusionConfig:
    return replace(QUICK, **changes)  # type: ignore[arg-type]
