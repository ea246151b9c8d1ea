"""Encoders of items that have several modalities: a picture and its caption, a video and what is said of it.

What an item may have: the medium itself (a picture, a sound, or the frames of a video) and a text. The sound
of a video is no part: one item is decoded once, as one modality.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from encoders.artifacts import model_files, write_model
from encoders.card import EncoderCard
from encoders.encoder import Encoder, MediaEncoder
from encoders.media.sides import check_modalities
from encoders.media.specs import DecodeSpec
from encoders.modality_fusion.architecture import KIND, TENSORS_FILE, ModalityFusionShape
from encoders.modality_fusion.fusing import Floats, ModalityFusion, Present
from encoders.tensors import map_tensors
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel

PART_FOLDER = "part-{}"

Encode: TypeAlias = Callable[[Encoder, Sequence[Content]], Floats]


class ModalityFusionEncoder:
    """Implements `encoders.encoder.MediaEncoder`. The parts' encoders are opened when first needed."""

    def __init__(self, card: EncoderCard, folder: Path) -> None:
        """Open a folder whose files were checked.

        Raises:
            CorruptArtifact: if the tensors do not fit the card.
            IncompatibleModel: if the card is not one of a modality fusion.
        """
        self._card, self._folder = card, folder
        self.fusion = ModalityFusion(
            ModalityFusionShape.from_card(card.architecture), map_tensors(folder / TENSORS_FILE)
        )
        self._served = dict.fromkeys(self.fusion.shape.modalities)

    @cached_property
    def _parts(self) -> dict[Modality, Encoder]:
        from encoders.loading import load_encoder

        return {
            modality: load_encoder(self._folder / PART_FOLDER.format(modality))
            for modality in self.fusion.shape.modalities
        }

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        return self._card

    @property
    def decode_specs(self) -> Mapping[Modality, DecodeSpec]:
        """As the encoders of the media want it."""
        specs: dict[Modality, DecodeSpec] = {}
        for modality, encoder in self._parts.items():
            if modality is not Modality.TEXT:
                if not isinstance(encoder, MediaEncoder) or modality not in encoder.decode_specs:
                    raise IncompatibleModel(f"encoder {encoder.card.name} takes no {modality.value}")
                specs[modality] = encoder.decode_specs[modality]
        return specs

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode queries, as `Encoder` says."""
        return self._encode(contents, lambda encoder, some: encoder.encode_queries(some))

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode items, as `Encoder` says: of a medium with a text, both."""
        return self._encode(contents, lambda encoder, some: encoder.encode_items(some))

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell whether a part's encoder cuts what it reads."""
        cut = []
        for content in contents:
            parts = self._split(content)
            cut.append(any(self._parts[modality].truncates([part])[0] for modality, part in parts.items()))
        return cut

    def _split(self, content: Content) -> dict[Modality, Content]:
        """Return what a content has for each part."""
        parts = {content.modality: content}
        if Modality.TEXT in self._served and content.text.strip():
            parts[Modality.TEXT] = Content(text=content.text)
        return parts

    def _encode(self, contents: Sequence[Content], encode: Encode) -> Floats:
        check_modalities(self._card, contents, self._served)
        shape = self.fusion.shape
        split = [self._split(content) for content in contents]
        present: Present = np.array(
            [[modality in parts for modality in shape.modalities] for parts in split], np.bool_
        ).reshape(len(contents), len(shape.parts))
        vectors = {}
        for place, (modality, width) in enumerate(shape.parts):
            vectors[modality.value] = np.zeros((len(contents), width), np.float32)
            there = np.flatnonzero(present[:, place])
            if len(there):
                own = [split[row][modality] for row in there]
                vectors[modality.value][there] = encode(self._parts[modality], own)
        return self.fusion(vectors, present)


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    return ModalityFusionEncoder(card, folder)


def save_modality_fusion(
    folder: Path,
    shape: ModalityFusionShape,
    tensors: Mapping[str, Floats],
    parts: Mapping[Modality, tuple[EncoderCard, Path]],
    *,
    beside: Mapping[str, bytes] | None = None,
    **about: Any,
) -> EncoderCard:
    """Write a model folder, its card last, and return the card.

    Args:
        folder: where to.
        shape: of the fusion.
        tensors: as `shape` names them.
        parts: by modality, the card and folder of the frozen encoder, which is copied.
        beside: files that no vector depends on.
        about: name, version and what else the card tells of the training.

    Raises:
        StorageFull: if the disk is full.
        CorruptArtifact: if the tensors do not fit the shape.
    """
    ModalityFusion(shape, tensors)
    text = parts.get(Modality.TEXT)
    card = EncoderCard(
        kind=KIND,
        modalities=tuple(modality.value for modality in shape.modalities),
        dims=shape.dims,
        max_words=text[0].max_words if text else 0,
        architecture=shape.to_card(),
        **about,
    )
    files: dict[str, bytes | Path] = {
        TENSORS_FILE: save({name: np.ascontiguousarray(value) for name, value in tensors.items()})
    }
    for modality, (own, where) in parts.items():
        files |= model_files(where, own, PART_FOLDER.format(modality))
    return write_model(folder, card, files, beside=beside)
