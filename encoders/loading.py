"""Opening an encoder from its folder, whatever its kind."""

from pathlib import Path

from encoders.card import EncoderCard, read_card
from encoders.encoder import Encoder
from encoders.two_tower.architecture import KIND as TWO_TOWER
from encoders.two_tower.architecture import Architecture
from retrieval.errors import IncompatibleModel


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
    if card.kind == TWO_TOWER:
        return _two_tower(card, folder)
    raise IncompatibleModel(f"model {card.name}@{card.version}: nothing here loads the kind {card.kind!r}")


def _two_tower(card: EncoderCard, folder: Path) -> Encoder:
    if Architecture.from_card(card.architecture).tower == "mlp":
        from encoders.two_tower.served import MlpEncoder

        return MlpEncoder(card, folder)
    from encoders.extras import require_torch

    require_torch(f"model {card.name}@{card.version}")
    from encoders.two_tower.torch_served import RecurrentEncoder

    return RecurrentEncoder(card, folder)
