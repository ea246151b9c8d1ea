"""What may differ between two trainings of a layer fusion."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from encoders.fields import check_above_zero, check_at_least, check_below_one, check_choice
from encoders.layer_fusion.architecture import DIMS, FusionKind, FusionShape, HeadKind
from encoders.training.fusion_objective import FusionLoss
from encoders.training.optimisation import LoopConfig
from retrieval.errors import InvalidInput

WATCHED = "MRR"  # smoother than precision at 1, and does not depend on how many items a label has
_LOWEST: Mapping[str, float] = {
    "dims": 1,
    "layer": 0,
    "epochs": 1,
    "batch_size": 2,
    "patience": 0,
    "weight_decay": 0,
    "folds": 3,  # one to learn from, one to stop by, one to test on
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFusionConfig:
    """How to train a layer fusion."""

    fusion: FusionKind = "attention"
    head: HeadKind = "siamese"
    layer: int = 0  # which one, for `layer`
    dims: int = DIMS

    loss: FusionLoss = "infonce"
    margin: float = 0.2  # of triplet
    temperature: float = 0.1  # of infonce
    mined: bool = True  # negatives are also drawn among those that seem nearest
    dropout: float = 0.0
    epochs: int = 60
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 64  # anchors; each brings a positive, and a mined negative
    patience: int = 15
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        FusionShape(layers=self.layer + 1, width=1, fusion=self.fusion, head=self.head, layer=self.layer)
        check_at_least(self, _LOWEST)
        check_above_zero(self, "learning_rate", "temperature")
        check_below_one(self, "dropout")
        if not 0 <= self.margin <= 2:
            raise InvalidInput(f"margin: expected 0 to 2, got {self.margin}", field="margin")
        check_choice(self, loss=FusionLoss)

    def record(self) -> dict[str, Any]:
        """Return every field, for the card and the run."""
        return asdict(self)

    def shape(self, layers: int, width: int) -> FusionShape:
        """Return the shape of the network for features of this shape.

        Raises:
            InvalidInput: if there is no such layer.
        """
        return FusionShape(
            layers=layers,
            width=width,
            fusion=self.fusion,
            head=self.head,
            layer=self.layer,
            dims=self.dims,
        )

    def stage(self, name: str) -> LoopConfig:
        """Return how a stage runs."""
        return LoopConfig(
            stage=name,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
            watched=WATCHED,
        )
