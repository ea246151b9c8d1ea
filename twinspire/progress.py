"""Progress on stderr: a live bar on a terminal, now and then a line in a pipe."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import click

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_EVERY_S = 15.0


class Stage(Protocol):
    """How far a stage of a job has come; `indexer.progress.Progress` is one."""

    @property
    def stage(self) -> str:
        """What is being done, such as "encode"."""
        ...

    @property
    def done(self) -> int:
        """How many of them."""
        ...

    @property
    def total(self) -> int:
        """Of how many; 0 = not known yet."""
        ...


class ProgressDisplay:
    """Shows the stages of a job as they come; a context manager, and callable with a `Stage`."""

    def __init__(self) -> None:
        self._live: Any = None
        self._tasks: dict[str, TaskID] = {}
        self._shown = ""  # the stage of the newest bar
        self._current: Stage | None = None  # in a pipe
        self._started_s = self._told_s = 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._live = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(file=sys.stderr, highlight=False),
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            if self._shown and kind is None:
                self._finish_bar(self._shown)
            self._live.stop()
        elif kind is None:
            self._close_stage()

    def __call__(self, progress: Stage) -> None:
        """Show one step."""
        if self._live is not None:
            self._show_bar(progress)
        else:
            self._show_line(progress)

    def line(self, text: str) -> None:
        """Print a line above the bars; in a pipe, after a stage that is through."""
        if self._live is not None:
            self._live.console.print(text, markup=False)
            return
        if self._current is not None and self._current.done >= self._current.total > 0:
            self._close_stage()
        click.echo(text, err=True)

    def _show_bar(self, progress: Stage) -> None:
        total = progress.total or None
        if self._shown and self._shown != progress.stage:
            self._finish_bar(self._shown)
        self._shown = progress.stage
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = self._live.add_task(progress.stage, total=total)
        self._live.update(self._tasks[progress.stage], completed=progress.done, total=total)

    def _finish_bar(self, stage: str) -> None:
        """Let the bar of a stage that is over stand full, also where nobody counted."""
        task = self._tasks[stage]
        done = self._live.tasks[task].completed
        self._live.update(task, completed=max(done, 1), total=max(done, 1))

    def _show_line(self, progress: Stage) -> None:
        """Print a line now and then while a stage lasts, and one when it is over."""
        now = time.monotonic()
        if self._current is None or self._current.stage != progress.stage:
            self._close_stage()
            self._started_s = self._told_s = now
        self._current = progress
        if now - self._told_s >= LINE_EVERY_S:
            self._told_s = now
            click.echo(f"  {progress.stage}: {_fraction(progress)}", err=True)

    def _close_stage(self) -> None:
        if self._current is not None:
            seconds = time.monotonic() - self._started_s
            counted = f"{_fraction(self._current)}, " if self._current.done else ""
            click.echo(f"  {self._current.stage}: {counted}{seconds:.1f} s", err=True)
            self._current = None


def _fraction(progress: Stage) -> str:
    if progress.total:
        return f"{progress.done:,} of {progress.total:,}"
    return f"{progress.done:,}"


class StepDisplay:
    """Shows what a job is doing, where its steps cannot be counted; callable with the step's name."""

    def __init__(self) -> None:
        self._status: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(file=sys.stderr, highlight=False).status("")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, step: str) -> None:
        """Name the step that begins."""
        if self._status is not None:
            self._status.update(step)
        else:
            click.echo(f"  {step}", err=True)
