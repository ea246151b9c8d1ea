"""Encoders that fuse the layers of a frozen model, which they hold whole."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from encoders.artifacts import model_files, write_model
from encoders.card import EncoderCard
from encoders.encoder import Encoder, LayeredEncoder
from encoders.layer_fusion.architecture import BACKBONE, KIND, TENSORS_FILE, FusionShape
from encoders.layer_fusion.fusing import Floats, Fusion
from encoders.media.specs import AudioSpec, DecodeSpec
from encoders.tensors import map_tensors
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel

FEATURE_FINGERPRINT = "feature_fingerprint"


class LayerFusion:
    """Implements `encoders.encoder.LayeredEncoder`.

    The frozen model is opened when a sound is to be read: to fuse stored features, torch is not needed.
    """

    def __init__(self, card: EncoderCard, folder: Path) -> None:
        """Open a folder whose files were checked.

        Raises:
            CorruptArtifact: if the tensors do not fit the card.
            IncompatibleModel: if the card is not one of a layer fusion.
        """
        self._card, self._folder = card, folder
        self._specs = _specs_of(card)
        self.fusion = Fusion(FusionShape.from_card(card.architecture), map_tensors(folder / TENSORS_FILE))

    @cached_property
    def _backbone(self) -> LayeredEncoder:
        from encoders.loading import load_encoder

        encoder = load_encoder(self._folder / BACKBONE)
        if not isinstance(encoder, LayeredEncoder):
            raise IncompatibleModel(
                f"model {self._card.name}@{self._card.version}: its backbone has no layers"
            )
        return encoder

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        return self._card

    @property
    def decode_specs(self) -> Mapping[Modality, DecodeSpec]:
        """As the frozen model wants it."""
        return self._specs

    @property
    def feature_fingerprint(self) -> str:
        """The frozen model's."""
        return str(self._card.architecture[FEATURE_FINGERPRINT])

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(layers, width) of the frozen model's features."""
        return self.fusion.shape.layers, self.fusion.shape.width

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode queries, as `Encoder` says."""
        return self.fuse(self.extract(contents))

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode items, as `Encoder` says."""
        return self.fuse(self.extract(contents))

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell what the frozen model cuts."""
        return self._backbone.truncates(contents)

    def extract(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Run the frozen model, as `LayeredEncoder` says."""
        return self._backbone.extract(contents)

    def fuse(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fuse the layers, as `LayeredEncoder` says."""
        return self.fusion(features)


def _specs_of(card: EncoderCard) -> dict[Modality, DecodeSpec]:
    """Read how the frozen model wants sounds, so that it need not be opened to be asked."""
    try:
        return {Modality(name): AudioSpec(**told) for name, told in card.preprocessing.items()}
    except (TypeError, ValueError) as error:
        raise IncompatibleModel(
            f"model {card.name}@{card.version}: not a fusion of a sound's layers"
        ) from error


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    return LayerFusion(card, folder)


def save_layer_fusion(
    folder: Path,
    shape: FusionShape,
    tensors: Mapping[str, Floats],
    backbone: LayeredEncoder,
    backbone_folder: Path,
    *,
    beside: Mapping[str, bytes] | None = None,
    **about: Any,
) -> EncoderCard:
    """Write a model folder, its card last, and return the card.

    Args:
        folder: where to.
        shape: of the fusion.
        tensors: as `shape` names them.
        backbone: the frozen model, from `backbone_folder`, which is copied.
        backbone_folder: its model folder.
        beside: files that no vector depends on.
        about: name, version and what else the card tells of the training.

    Raises:
        StorageFull: if the disk is full.
        CorruptArtifact: if the tensors do not fit the shape.
    """
    Fusion(shape, tensors)
    made = {name: np.ascontiguousarray(tensors[name], np.float32) for name in shape.tensors()}
    card = EncoderCard(
        kind=KIND,
        modalities=backbone.card.modalities,
        dims=shape.dims,
        max_words=0,
        preprocessing={modality.value: asdict(spec) for modality, spec in backbone.decode_specs.items()},
        architecture=shape.to_card() | {FEATURE_FINGERPRINT: backbone.feature_fingerprint},
        **about,
    )
    own_backbone, own_folder = innermost(backbone, backbone_folder)
    files: dict[str, bytes | Path] = {TENSORS_FILE: save(made)}
    files.update(model_files(own_folder, own_backbone, BACKBONE))
    return write_model(folder, card, files, beside=beside)


def innermost(encoder: LayeredEncoder, folder: Path) -> tuple[EncoderCard, Path]:
    """Return the card and folder of the frozen model, also of one that is itself a fusion."""
    while isinstance(encoder, LayerFusion):
        encoder, folder = encoder._backbone, folder / BACKBONE
    return encoder.card, folder
