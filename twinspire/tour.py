"""What all tours share: numbered steps that are told and timed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from twinspire.session import Session


@dataclass(slots=True)
class Tour:
    """One run of a tour.

    Attributes:
        console: where results go.
        narration: where the steps are told.
    """

    session: Session
    console: Console
    narration: Console
    steps: int = field(init=False, default=0)
    seconds: dict[str, float] = field(init=False, default_factory=dict)

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """Tell what is done next, and how long it took."""
        self.narration.print(f"[bold]\\[{len(self.seconds) + 1}/{self.steps}] {what}[/]", soft_wrap=True)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        self.narration.print(f"[dim]  {self.seconds[name]:.1f} s[/]\n")

    def tell(self, text: str) -> None:
        """Tell a line."""
        self.narration.print(f"  {text}", markup=False, soft_wrap=True)
