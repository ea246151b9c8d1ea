"""What a job tells while it runs: one event type for every stage, shown by one display."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage of a job has come."""

    stage: str  # "check", "import", "encode", "build", ...
    done: int
    total: int  # 0 = not known yet


OnProgress: TypeAlias = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Show nothing."""
