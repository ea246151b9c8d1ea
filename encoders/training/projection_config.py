"""What may differ between two trainings of a projection."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from encoders.fields import check_above_zero, check_at_least, check_below_one, check_choice, check_held_out
from encoders.training.optimisation import LoopConfig

StartKind: TypeAlias = Literal["closed_form", "random"]

WATCHED = "MRR"  # the mean of both directions: smoother than a recall
_LOWEST: Mapping[str, float] = {
    "dims": 1,
    "hidden": 0,
    "landmarks": 2,
    "media_gamma": 0,
    "text_gamma": 0,
    "noise": 0,
    "regularisation": 0,
    "epochs": 1,
    "batch_size": 2,
    "patience": 0,
    "weight_decay": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionConfig:
    """How to train a projection. The defaults were best for the emoji, those held out left aside."""

    dims: int = 384  # of the common space; at most as wide as the narrower backbone
    start: StartKind = "closed_form"  # canonical correlations; or random
    kernel: bool = True  # linear maps of a Gaussian kernel's features, not of the vectors themselves
    landmarks: int = 1024  # of the kernel, drawn from the training pairs
    media_gamma: float | None = None  # of the kernel; None = by cross-validation; 0 = no kernel
    text_gamma: float | None = None
    hidden: int = 0  # width of a hidden layer beside the linear one; 0 = none
    dropout: float = 0.3  # of the hidden layer, and of what the media backbone gives
    noise: float = 0.0  # length of what is added to both inputs while training
    regularisation: float = 0.0  # of the closed form that training starts from; 0 = by cross-validation

    temperature: float = 0.07  # at the start; it is learned
    epochs: int = 40
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    batch_size: int = 256
    patience: int = 10

    test: float = 0.2  # the share of the pairs that is held out
    validation: float = 0.1  # the share that tells when to stop, and is then learned from too
    split_seed: int = 0  # of which pairs are held out
    seed: int = 0  # of all else that is drawn

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        check_at_least(self, _LOWEST)
        check_above_zero(self, "learning_rate", "temperature")
        check_choice(self, start=StartKind)
        check_below_one(self, "dropout")
        check_held_out(self, "test", "validation")

    def record(self) -> dict[str, Any]:
        """Return every field, for the card and the run."""
        return asdict(self)

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
