"""What may differ between two trainings of a two-tower."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from encoders.fields import check_above_zero, check_at_least, check_below_one, check_choice
from encoders.training.losses import LossKind
from encoders.training.optimisation import LoopConfig, OptimizerKind, SchedulerKind
from encoders.two_tower.architecture import TowerKind
from retrieval.errors import InvalidInput

CORPUS_STEPS_PER_EPOCH = 50  # how often the first stage may write a checkpoint
_LOWEST: Mapping[str, float] = {
    "dims": 1,
    "hidden_dims": 0,
    "layers": 1,
    "max_words": 1,
    "min_word_texts": 1,
    "max_vocabulary": 1_000,
    "cbow_dims": 2,
    "cbow_epochs": 1,
    "corpus_steps": 0,
    "epochs": 0,
    "batch_size": 2,
    "own_negatives": 0,
    "mined_negatives": 0,
    "patience": 0,
    "grad_clip": 0,
    "weight_decay": 0,
    "word_weighting": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoTowerConfig:
    """How to train a two-tower. The defaults are what was best on validation queries of the demo corpus."""

    tower: TowerKind = "mlp"
    init: str = "none"  # random vectors; or "cbow", or a file of word vectors
    dims: int | None = None  # of the vectors; None = as wide as the word vectors
    hidden_dims: int | None = None  # None = no hidden layer for the mlp, 256 for rnn and gru
    layers: int = 2  # of rnn and gru
    dropout: float = 0.0
    shared: bool = True  # one tower for queries and items
    max_words: int = 256  # of a text, blank-separated; longer items become segments
    train_words: bool = True  # the word table is trained too

    min_word_texts: int = 3  # a word in fewer texts has no row of its own
    max_vocabulary: int = 200_000
    word_weighting: float = 0.5  # words start weighted by idf to this power
    cbow_dims: int = 300
    cbow_epochs: int = 10

    corpus_steps: int | None = None  # first stage, texts against themselves; None = 300 for the mlp, else 0
    corpus_learning_rate: float = 3e-3
    epochs: int = 4  # second stage, questions against their items
    learning_rate: float = 1e-3
    batch_size: int = 512
    own_negatives: int = 2  # a question, of the items that were shown with it
    mined_negatives: int = 2  # a question, of what the current index finds; only if one is given
    skip_missing: bool = False  # ignore judgements of items that are gone

    loss: LossKind = "contrastive"
    temperature: float = 0.05
    learn_temperature: bool = True
    margin: float = 0.2  # of margin_contrastive and triplet
    optimizer: OptimizerKind = "adamw"
    scheduler: SchedulerKind = "cosine"
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    patience: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        check_at_least(self, _LOWEST)
        check_above_zero(self, "learning_rate", "corpus_learning_rate", "temperature")
        check_below_one(self, "dropout")
        if not 0 <= self.margin <= 2:
            raise InvalidInput(f"margin: expected 0 to 2, got {self.margin}", field="margin")
        check_choice(self, tower=TowerKind, loss=LossKind, optimizer=OptimizerKind, scheduler=SchedulerKind)

    def record(self) -> dict[str, Any]:
        """Return every field, for the card and the run; of a file only its name, as paths differ."""
        return asdict(self) | {"init": self.init.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]}

    def corpus_stage(self) -> LoopConfig | None:
        """Return how the first stage runs; None if it does not."""
        steps = self.corpus_steps if self.corpus_steps is not None else 300 if self.tower == "mlp" else 0
        if steps == 0:
            return None
        return LoopConfig(
            stage="corpus",
            epochs=max(1, round(steps / CORPUS_STEPS_PER_EPOCH)),
            learning_rate=self.corpus_learning_rate,
            optimizer=self.optimizer,
            scheduler="none" if self.scheduler == "plateau" else self.scheduler,
            weight_decay=self.weight_decay,
            warmup_steps=20,
            clip_norm=self.grad_clip,
        )

    def question_stage(self) -> LoopConfig | None:
        """Return how the second stage runs; None if it does not."""
        if self.epochs == 0:
            return None
        return LoopConfig(
            stage="questions",
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            weight_decay=self.weight_decay,
            clip_norm=self.grad_clip,
            patience=self.patience,
        )
