"""Printing: results on stdout, tables in colour on a terminal, JSON for programs."""

import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

PIPE_WIDTH = 140  # of a table that is not read on a terminal


def examples(*lines: str) -> str:
    """Write the end of a command's help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

pass_session = click.pass_obj


def with_options(*options: Callable[[Any], Any]) -> Callable[[CommandT], CommandT]:
    """Put click's options on a command, in this order."""

    def decorate(command: CommandT) -> CommandT:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def open_streams() -> None:
    """Let stdout and stderr take any text: characters that they lack are escaped; closed, they drop all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the shell's `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: Any) -> None:
    """Print a result for programs: one JSON document on stdout."""
    escaped = str(sys.stdout.encoding).lower().replace("-", "") != "utf8"
    click.echo(json.dumps(value, indent=2, ensure_ascii=escaped, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return value.tolist()
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    return str(value)


def out() -> "Console":
    """Return the console of stdout."""
    return _console(sys.stdout)


def err() -> "Console":
    """Return the console of stderr, where progress goes."""
    return _console(sys.stderr)


def _console(stream: Any) -> "Console":
    from rich.console import Console

    make = partial(Console, highlight=False, soft_wrap=False)
    if stream.isatty() or os.environ.get("FORCE_COLOR"):
        return make(file=stream)
    return make(file=cast(IO[str], _Unpadded(stream)), width=PIPE_WIDTH, no_color=True)


class _Unpadded:
    """A pipe that the blanks at the ends of a table's lines do not reach."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, lines: str) -> int:
        return self._stream.write(re.sub(r" +(?=\n)", "", lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # its encoding, for one: lines are drawn in what it can hold


def say(message: str) -> None:
    """Tell what is going on, on stderr."""
    click.echo(message, err=True)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> "Table":
    """Build a plain table.

    Args:
        title: above it; empty for none.
        columns: their headings.
        rows: cells, as text with rich's markup where wanted.
        right: the headings of columns that are aligned to the right.
    """
    from rich import box
    from rich.table import Table

    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    empty: str,
) -> None:
    """Print a table on stdout, or where it has no rows, what that means."""
    if rows:
        out().print(table(title, columns, rows, right=right))
    else:
        click.echo(empty)
