"""Encoders that bring media and texts together by trained projections of two frozen backbones."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from encoders.artifacts import model_files, write_model
from encoders.card import EncoderCard
from encoders.encoder import Encoder, MediaEncoder
from encoders.media.sides import encode_by_side
from encoders.media.specs import DecodeSpec
from encoders.projection.heads import Floats, Head, ProjectionShape
from encoders.tensors import map_tensors
from encoders.text.export_record import RECORD_FILE, is_exported
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel

KIND = "projection"
TENSORS_FILE = "projection.safetensors"
MEDIA_FOLDER = "media"
TEXT_FOLDER = "text"
BASES = "bases"  # modality -> fingerprint of its backbone
MODALITY = "modality"


class ProjectionEncoder:
    """Implements `MediaEncoder` and `DerivedEncoder`. Each backbone is opened when it is first needed."""

    def __init__(self, card: EncoderCard, folder: Path) -> None:
        """Open a folder whose files were checked.

        Raises:
            CorruptArtifact: if the tensors do not fit the card.
            IncompatibleModel: if the card is not one of a projection.
        """
        self._card, self._folder = card, folder
        shape = ProjectionShape.from_card(card.architecture)
        if shape.dims != card.dims:
            raise IncompatibleModel(f"the card promises {card.dims} dimensions and {shape.dims}")
        tensors = map_tensors(folder / TENSORS_FILE)
        self._media_head = Head(shape, "media", tensors)
        self._text_head = Head(shape, "text", tensors)
        self._modality = Modality(card.architecture[MODALITY])

    @cached_property
    def _media(self) -> MediaEncoder:
        return media_encoder(_open(self._folder / MEDIA_FOLDER), self._modality)

    @cached_property
    def _text(self) -> Encoder:
        return _open(self._folder / TEXT_FOLDER)

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        return self._card

    @property
    def decode_specs(self) -> Mapping[Modality, DecodeSpec]:
        """As the media backbone wants it."""
        return {self._modality: self._media.decode_specs[self._modality]}

    @property
    def bases(self) -> Mapping[Modality, str]:
        """As `DerivedEncoder` says: the backbones."""
        told = self._card.architecture[BASES]
        return {Modality.TEXT: str(told[Modality.TEXT]), self._modality: str(told[self._modality])}

    def derive(self, modality: Modality, vectors: Floats) -> Floats:
        """As `DerivedEncoder` says: project the vectors of a backbone."""
        return (self._text_head if modality is Modality.TEXT else self._media_head)(vectors)

    def encode_queries(self, contents: Sequence[Content]) -> Floats:
        """Encode queries, as `Encoder` says."""
        return self._encode(
            contents,
            lambda media: self._media.encode_queries(media),
            lambda texts: self._text.encode_queries(texts),
        )

    def encode_items(self, contents: Sequence[Content]) -> Floats:
        """Encode items, as `Encoder` says."""
        return self._encode(
            contents,
            lambda media: self._media.encode_items(media),
            lambda texts: self._text.encode_items(texts),
        )

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell what the backbones cut."""
        return [
            (self._text if content.modality is Modality.TEXT else self._media).truncates([content])[0]
            for content in contents
        ]

    def _encode(self, contents: Sequence[Content], media: Any, texts: Any) -> NDArray[np.float32]:
        sides = {
            Modality.TEXT: lambda some: self._text_head(texts(some)),
            self._modality: lambda some: self._media_head(media(some)),
        }
        return encode_by_side(self._card, contents, sides)


def _open(folder: Path) -> Encoder:
    from encoders.loading import load_encoder

    return load_encoder(folder)


def media_encoder(encoder: Encoder, modality: Modality) -> MediaEncoder:
    """Check that an encoder takes media of a modality.

    Raises:
        IncompatibleModel: if it does not.
    """
    if not isinstance(encoder, MediaEncoder) or modality not in encoder.decode_specs:
        card = encoder.card
        raise IncompatibleModel(f"encoder {card.name}@{card.version} takes no {modality.value}")
    return encoder


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    return ProjectionEncoder(card, folder)


def save_projection(
    folder: Path,
    shape: ProjectionShape,
    tensors: Mapping[str, Floats],
    modality: Modality,
    media: tuple[EncoderCard, Path],
    text: tuple[EncoderCard, Path],
    *,
    beside: Mapping[str, bytes] | None = None,
    **about: Any,
) -> EncoderCard:
    """Write a model folder, its card last, and return the card.

    Args:
        folder: where to.
        shape: of the projections.
        tensors: as `shape` names them.
        modality: of the media.
        media: the card and folder of the frozen media backbone, which is copied.
        text: those of the frozen text backbone.
        beside: files that no vector depends on.
        about: name, version and what else the card tells of the training.

    Raises:
        StorageFull: if the disk is full.
        CorruptArtifact: if the tensors do not fit the shape.
    """
    for side in ("media", "text"):
        Head(shape, side, tensors)
    card = EncoderCard(
        kind=KIND,
        modalities=(Modality.TEXT.value, modality.value),
        dims=shape.dims,
        max_words=text[0].max_words,
        architecture={
            **shape.to_card(),
            MODALITY: modality.value,
            BASES: {Modality.TEXT.value: text[0].fingerprint, modality.value: media[0].fingerprint},
        },
        **about,
    )
    made = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}
    files: dict[str, bytes | Path] = {TENSORS_FILE: save(made)}
    files |= model_files(media[1], media[0], MEDIA_FOLDER)
    files |= model_files(text[1], text[0], TEXT_FOLDER)
    return write_model(folder, card, files, beside={**(beside or {}), **_graphs(text[1])})


def _graphs(folder: Path) -> dict[str, bytes]:
    """Return what ONNX Runtime serves the text backbone from, which no vector depends on."""
    if not is_exported(folder):
        return {}
    return {
        f"{TEXT_FOLDER}/{file.name}": file.read_bytes()
        for file in (folder / RECORD_FILE, *sorted(folder.glob("*.onnx")))
    }
