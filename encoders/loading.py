"""Opening an encoder from its folder, whatever its kind."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from encoders.card import read_card
from encoders.encoder import Encoder
from retrieval.errors import IncompatibleModel

# By the card's kind: the module that loads it, by its function `load(card, folder) -> Encoder`. Imported
# only when it is needed: most of them import torch.
LOADERS: Mapping[str, str] = {
    "two_tower": "encoders.two_tower.loading",
    "text": "encoders.text.loading",
    "audio_layers": "encoders.audio.layers",
    "image_backbone": "encoders.image.backbone",
    "clip": "encoders.image.clip",
    "xclip": "encoders.video.xclip",
    "clap": "encoders.audio.clap",
    "layer_fusion": "encoders.layer_fusion.encoder",
    "stored_features": "encoders.stored_features",
    "projection": "encoders.projection.encoder",
    "modality_fusion": "encoders.modality_fusion.encoder",
}


def load_encoder(folder: Path) -> Encoder:
    """Check a model folder's files against its card and open the encoder.

    Torch is imported only if the encoder needs it.

    Raises:
        CorruptArtifact: if a file is missing, or its bytes differ from the card's.
        IncompatibleModel: if the files do not fit the card, or nothing here loads this kind.
        NewerFormat: if a later version of the software wrote the card.
        MissingExtra: if the encoder needs a library that is not installed.
    """
    card = read_card(folder)
    if card.kind not in LOADERS:
        raise IncompatibleModel(
            f"model {card.name}@{card.version}: nothing here loads the kind {card.kind!r}"
        )
    encoder: Encoder = import_module(LOADERS[card.kind]).load(card, folder)
    return encoder
