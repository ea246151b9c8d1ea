"""What a training tells while it runs; who draws it is none of its business."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted:
    """A stage begins: "read", "vectors", "corpus", "questions", "save"."""

    stage: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """One optimiser step."""

    stage: str
    step: int  # from 1
    steps: int  # of the stage
    loss: float
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDone:
    """One epoch, with the metrics on held-out queries; epoch 0 is before any step."""

    stage: str
    epoch: int
    epochs: int
    loss: float | None  # mean over the epoch's steps; None for epoch 0
    metrics: Mapping[str, float]  # empty if the stage does not measure
    improved: bool
    seconds: float  # since the stage began (this process, if it was resumed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A stage goes on from its checkpoint."""

    stage: str
    epoch: int


Event: TypeAlias = StageStarted | StepDone | EpochDone | Resumed
OnEvent: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Tell nobody."""
