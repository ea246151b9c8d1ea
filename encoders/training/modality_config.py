"""What may differ between two trainings of a modality fusion."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from encoders.fields import check_above_zero, check_at_least, check_below_one, check_choice, check_held_out
from encoders.modality_fusion.architecture import Strategy
from encoders.training.optimisation import LoopConfig

WATCHED = "MRR"
_LOWEST: Mapping[str, float] = {
    "dims": 1,
    "gate_hidden": 1,
    "epochs": 1,
    "batch_size": 2,
    "patience": 0,
    "weight_decay": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityFusionConfig:
    """How to train a modality fusion."""

    strategy: Strategy = "gated"
    dims: int = 256
    gate_hidden: int = 128
    dropout: float = 0.3  # of what the parts' encoders give
    drop_parts: float = 0.5  # how often an item that has several parts shows only one of them

    temperature: float = 0.1
    epochs: int = 40
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 64
    patience: int = 10

    test: float = 0.2  # the share of the items that is held out, with labels; queries have their own splits
    validation: float = 0.1
    split_seed: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        check_choice(self, strategy=Strategy)
        check_at_least(self, _LOWEST)
        check_above_zero(self, "learning_rate", "temperature")
        check_below_one(self, "dropout", "drop_parts")
        check_held_out(self, "test", "validation")

    def record(self) -> dict[str, Any]:
        """Return every field, for the card and the run."""
        return asdict(self)

    def stage(self) -> LoopConfig:
        """Return how the training runs."""
        return LoopConfig(
            stage="fusion",
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
            watched=WATCHED,
        )
