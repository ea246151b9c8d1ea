"""A heat map as inline SVG: one row for each thing, one column for each step, stronger = more."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LABELS = 170  # the drawing's own units, as is all that follows
CELL_HEIGHT = 24
CELL_WIDTH = (30, 62)  # narrowest, widest
WIDTH = 760
TOP = 30
STRONG = 0.55  # from here on the colour is so strong that the figure is written in the page's


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One row; values between 0 and 1 are coloured, those below 0 are not, NaN is left empty."""

    name: str
    values: Sequence[float]
    tips: Sequence[str] = ()
    marked: int | None = None  # the column of a cell to stand out


def heat_map(rows: Sequence[HeatRow], columns: Sequence[str], *, label: str) -> str:
    """Draw a heat map with its figures in the cells; nothing for no rows."""
    if not rows or not columns:
        return ""
    narrowest, widest = CELL_WIDTH
    width = max(narrowest, min(widest, (WIDTH - LABELS) / len(columns)))
    parts = [
        f'<text x="{LABELS + (place + 0.5) * width:.1f}" y="{TOP - 8}" text-anchor="middle">'
        f"{escape(name)}</text>"
        for place, name in enumerate(columns)
    ]
    for place, row in enumerate(rows):
        parts += _row(row, TOP + place * CELL_HEIGHT, width)
    height = TOP + len(rows) * CELL_HEIGHT + 6
    return (
        f'<svg viewBox="0 0 {max(WIDTH, LABELS + width * len(columns)):.0f} {height}" role="img"'
        f' aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _row(row: HeatRow, top: float, width: float) -> list[str]:
    parts = [f'<text x="{LABELS - 8}" y="{top + 16}" text-anchor="end">{escape(row.name)}</text>']
    for column, value in enumerate(row.values):
        if math.isnan(value):
            continue
        left = LABELS + column * width
        tip = row.tips[column] if row.tips else f"{row.name}, {column}: {value:.3f}"
        strength = max(0.0, min(1.0, value))
        classes = "heat best" if column == row.marked else "heat"
        figure = "strong" if strength >= STRONG else "weak"
        parts.append(
            f"<g><title>{escape(tip)}</title>"
            f'<rect class="{classes}" x="{left + 1:.1f}" y="{top + 1}" width="{width - 2:.1f}"'
            f' height="{CELL_HEIGHT - 2}" rx="3" style="fill-opacity:{strength:.3f}"/>'
            f'<text class="{figure}" x="{left + width / 2:.1f}" y="{top + 16}" text-anchor="middle">'
            f"{_figure(value)}</text></g>"
        )
    return parts


def _figure(value: float) -> str:
    """Write a figure that fits its cell.

    >>> [_figure(value) for value in (0.944, -0.2, -31.5)]
    ['.94', '-.20', '&lt;-1']
    """
    if value <= -1:
        return "&lt;-1" if value < -1 else "-1"
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.0f}"
