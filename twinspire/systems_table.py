"""The table that sets what was trained beside what is simpler, and beside chance."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from twinspire.console import table

if TYPE_CHECKING:
    from rich.table import Table

Measured: TypeAlias = tuple[float, tuple[float, float]]  # a mean, and its interval

LEGEND = "In brackets: 95 % bootstrap intervals over the queries."


def systems_table(
    title: str, chance: Mapping[str, float], systems: Mapping[str, Sequence[Measured]], *, trained: str
) -> "Table":
    """Build the table: chance first, then every system.

    Args:
        title: above it.
        chance: what a random order gives, by metric.
        systems: what each was measured to give, by name, in the order of `chance`.
        trained: the system that stands out.
    """
    rows = [["chance", *(f"{value:.3f}" for value in chance.values())]]
    for system, measured in systems.items():
        cells = [f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, (low, high) in measured]
        rows.append([system, *([f"[bold]{cell}[/]" for cell in cells] if system == trained else cells)])
    return table(title, ("system", *chance), rows, right=tuple(chance))
