"""The sounds of a collection, decoded once and held for a training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from encoders.media.decoding import Decoder
from encoders.media.preparing import prepare
from encoders.media.specs import AudioSpec
from retrieval.content import Content, Modality
from retrieval.errors import InvalidTrainingData
from retrieval.items import StoredItem
from retrieval.media_roots import media_roots
from retrieval.workspace import Workspace

HELD_S = 60.0  # of each sound; an hour of music would not make a better training
FULL_SCALE = 32_767
_TOGETHER = 16


@dataclass(frozen=True, slots=True)
class Sounds:
    """Sounds in 16 bits: half the memory, and no file holds more."""

    samples: Sequence[NDArray[np.int16]]

    def whole(self, number: int) -> NDArray[np.float32]:
        """Return a sound in [-1, 1]."""
        return np.asarray(self.samples[number].astype(np.float32) / np.float32(FULL_SCALE))

    def window(self, number: int, length: int, place: float) -> NDArray[np.float32]:
        """Cut a window out of a sound; one that is too short is repeated.

        Args:
            number: of the sound.
            length: in samples.
            place: where, from 0 (its beginning) to 1 (its end).
        """
        samples = self.whole(number)
        if len(samples) < length:
            return np.resize(samples, length)
        start = round(place * (len(samples) - length))
        return samples[start : start + length]


def read_sounds(
    ws: Workspace, items: Sequence[StoredItem], spec: AudioSpec
) -> tuple[list[StoredItem], Sounds]:
    """Decode the sounds among some items, in limited processes; those that cannot be read are left out.

    Args:
        ws: the workspace, whose roots uris lead into.
        items: of any modality.
        spec: how to decode; `HELD_S` seconds of each are held.

    Raises:
        InvalidTrainingData: if there is none.
    """
    audible = [item for item in items if item.modality is Modality.AUDIO]
    roots, spec = media_roots(ws), replace(spec, max_seconds=min(spec.max_seconds, HELD_S))
    kept: list[StoredItem] = []
    samples: list[NDArray[np.int16]] = []
    with Decoder() as decoder:
        for start in range(0, len(audible), _TOGETHER):
            part = audible[start : start + _TOGETHER]
            contents = [Content(modality=item.modality, uri=item.uri) for item in part]
            outcomes = prepare(contents, {Modality.AUDIO: spec}, decoder, roots)
            for item, outcome in zip(part, outcomes, strict=True):
                if isinstance(outcome, Content) and outcome.decoded is not None and len(outcome.decoded):
                    kept.append(item)
                    samples.append(np.round(np.clip(outcome.decoded, -1, 1) * FULL_SCALE).astype(np.int16))
    if not kept:
        raise InvalidTrainingData("the collection has no sound that can be read")
    return kept, Sounds(samples)
