"""What may differ between two fine-tunings of a pretrained text encoder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from encoders.fields import check_above_zero, check_at_least, check_below_one, check_choice
from encoders.training.optimisation import LoopConfig, SchedulerKind

Tuned: TypeAlias = Literal["both", "query"]

_LOWEST: Mapping[str, float] = {
    "epochs": 1,
    "batch_size": 2,
    "texts_at_once": 1,
    "own_negatives": 0,
    "mined_negatives": 0,
    "max_tokens": 3,
    "held_out_items": 1,
    "weight_decay": 0,
    "grad_clip": 0,
    "patience": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTuningConfig:
    """How to fine-tune a text encoder on judged questions."""

    encoder: str  # name or name@version, of a text encoder
    # "query" leaves the items' vectors as they are, so no item is encoded again: their index is reused, and
    # the whole corpus serves as negatives. "both" moves the items too.
    tuned: Tuned = "both"
    epochs: int = 2
    learning_rate: float = 3e-5
    batch_size: int = 64  # questions a step; the others' items are its negatives
    texts_at_once: int = 32  # held in memory; the gradient is that of the whole batch all the same
    own_negatives: int = 1  # a question, of the items that were shown with it
    mined_negatives: int = 1  # a question, of what the current index finds; only if one is given
    max_tokens: int = 128  # of a text while training; the encoder goes on reading as many as before
    held_out_items: int = 2_000  # of the corpus that held-out questions search, where items are tuned too
    temperature: float = 0.05
    learn_temperature: bool = False
    dropout: float = 0.0
    scheduler: SchedulerKind = "cosine"
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    patience: int = 2
    precision: str = "auto"  # bfloat16 where the device computes in it, or "float32"
    skip_missing: bool = False  # ignore judgements of items that are gone
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        from encoders.device import check_precision

        check_at_least(self, _LOWEST)
        check_above_zero(self, "learning_rate", "temperature")
        check_below_one(self, "dropout")
        check_choice(self, tuned=Tuned, scheduler=SchedulerKind)
        check_precision(self.precision)

    def record(self) -> dict[str, Any]:
        """Return every field, for the card and the run."""
        return asdict(self)

    def stage(self) -> LoopConfig:
        """Return how the loop runs."""
        return LoopConfig(
            stage="questions",
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            scheduler=self.scheduler,
            betas=(0.9, 0.999),
            weight_decay=self.weight_decay,
            clip_norm=self.grad_clip,
            patience=self.patience,
        )
