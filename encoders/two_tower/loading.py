"""Opening a two-tower encoder: in numpy where its tower allows, so that a server starts without torch."""

from pathlib import Path

from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.extras import require
from encoders.two_tower.architecture import Architecture


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    if Architecture.from_card(card.architecture).tower == "mlp":
        from encoders.two_tower.served import MlpEncoder

        return MlpEncoder(card, folder)
    require("torch", "train", f"model {card.name}@{card.version}")
    from encoders.two_tower.torch_served import RecurrentEncoder

    return RecurrentEncoder(card, folder)
