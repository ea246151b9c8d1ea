"""Plots as inline SVG. Colours are CSS classes, so one drawing serves a light and a dark page.

Sizes are in the drawing's own units (its `viewBox`); the page scales it to the width that it has.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 46
BINS = 48  # of a histogram


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps data to positions along one axis."""

    low: float
    high: float
    start: float  # the position of `low`
    end: float
    logarithmic: bool = False
    whole: bool = False  # only whole numbers make sense on it

    def __call__(self, value: float) -> float:
        """Give the position of a value."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """List round values within the scale: powers of ten and their halves if it is logarithmic."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) <= 4 else (1,)
            values = [step * 10.0**decade for decade in decades for step in steps]
        else:
            step = round_step((self.high - self.low) / 7)
            step = max(step, 1.0) if self.whole else step
            first = math.ceil(self.low / step - 1e-9)
            values = [index * step for index in range(first, first + 12)]
        return [value for value in values if self.low * (1 - 1e-9) <= value <= self.high + 1e-9]


def round_step(raw: float) -> float:
    """Round a step up to 1, 2 or 5 times a power of ten.

    >>> round_step(0.13)
    0.2
    """
    if raw <= 0:
        return 1.0
    decade = 10.0 ** math.floor(math.log10(raw))
    return next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= raw * (1 - 1e-9))


def number(value: float) -> str:
    """Write a number for an axis: short, with k and M.

    >>> [number(value) for value in (0.25, 3, 1500, 2_000_000)]
    ['0.25', '3', '1.5k', '2M']
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.6g}"


@dataclass(frozen=True, slots=True)
class BarSeries:
    """One system's bars: a value and its interval for each group."""

    name: str
    values: Sequence[float]
    intervals: Sequence[tuple[float, float]]
    colour: int  # the number of a colour class


def grouped_bars(groups: Sequence[str], series: Sequence[BarSeries], chance: Sequence[float]) -> str:
    """Draw bars between 0 and 1 with whiskers, and a dotted line at each group's chance level."""
    y = Scale(0, 1, HEIGHT - BOTTOM, TOP)
    parts = [*_y_axis(y, ""), legend([(bars.name, bars.colour) for bars in series], chance=True)]
    slot = (WIDTH - LEFT - RIGHT) / max(1, len(groups))
    width = min(30.0, slot * 0.8 / max(1, len(series)))
    for place, group in enumerate(groups):
        middle = LEFT + slot * (place + 0.5)
        first = middle - width * len(series) / 2
        for index, bars in enumerate(series):
            parts.append(_bar(bars, place, group, first + index * width, width, y))
        at = y(chance[place])
        parts.append(
            f'<line class="chance" x1="{middle - slot * 0.44:.1f}" x2="{middle + slot * 0.44:.1f}" '
            f'y1="{at:.1f}" y2="{at:.1f}"><title>chance {chance[place]:.4f}</title></line>'
        )
        parts.append(_text(middle, HEIGHT - BOTTOM + 18, group, "middle"))
    return _svg(parts, "Metrics of each system with intervals")


def _bar(bars: BarSeries, place: int, group: str, left: float, width: float, y: Scale) -> str:
    value, (low, high) = bars.values[place], bars.intervals[place]
    middle, gap = left + width / 2, 1.5
    tip = f"{bars.name} {group}: {value:.3f} [{low:.3f}, {high:.3f}]"
    return (
        f"<g><title>{escape(tip)}</title>"
        f'<rect class="s{bars.colour}" x="{left + gap:.1f}" width="{width - 2 * gap:.1f}" rx="2" '
        f'y="{y(value):.1f}" height="{y(0) - y(value):.1f}"/>'
        f'<path class="whisker" d="M{middle:.1f} {y(low):.1f}V{y(high):.1f}'
        f'M{middle - 4:.1f} {y(low):.1f}h8M{middle - 4:.1f} {y(high):.1f}h8"/></g>'
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot: points (x, y), each with a text that shows on hovering."""

    name: str
    points: Sequence[tuple[float, float]]
    tips: Sequence[str] = ()
    marked: int | None = None  # the place of a point to stand out


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    logarithmic_x: bool = False,
    y_from: float | None = None,
    mark: tuple[float, str] | None = None,
) -> str:
    """Draw lines with their points; `mark` is a horizontal line to compare with, and its name."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + ([mark[0]] if mark else [])
    if not xs:
        return ""
    whole = not logarithmic_x and all(float(x).is_integer() for x in xs)
    x_scale = Scale(min(xs), max(xs), LEFT + 8, WIDTH - RIGHT - 8, logarithmic_x, whole)
    low, high = _padded(ys, y_from)
    y_scale = Scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [*_y_axis(y_scale, y_label), *_x_axis(x_scale, x_label)]
    if len(lines) > 1:
        parts.append(legend([(line.name, index) for index, line in enumerate(lines)]))
    if mark:
        parts.append(_mark(mark, y_scale))
    parts += [_line(line, index, x_scale, y_scale) for index, line in enumerate(lines)]
    return _svg(parts, f"{y_label} against {x_label}")


def _mark(mark: tuple[float, str], y: Scale) -> str:
    at = y(mark[0])
    return f'<line class="chance" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>' + _text(
        WIDTH - RIGHT, at - 5, mark[1], "end"
    )


def _padded(values: Sequence[float], low: float | None) -> tuple[float, float]:
    spread = (max(values) - min(values)) or abs(max(values)) or 1.0
    return min(values) - 0.08 * spread if low is None else low, max(values) + 0.08 * spread


def _line(line: Line, index: int, x: Scale, y: Scale) -> str:
    places = [(x(px), y(py)) for px, py in line.points]
    path = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
    dots = "".join(
        f'<circle class="s{index}" cx="{px:.1f}" cy="{py:.1f}" r="{7 if place == line.marked else 3.5}">'
        f"<title>{escape(tip)}</title></circle>"
        for place, ((px, py), tip) in enumerate(
            zip(places, line.tips or [line.name] * len(places), strict=True)
        )
    )
    return f'<path class="line t{index}" d="M{path}"/>{dots}'


def histogram(samples: Sequence[tuple[str, NDArray[np.floating]]], *, x_label: str) -> str:
    """Draw how several samples spread over the same axis, each as a share of its own size."""
    filled = [(name, values) for name, values in samples if len(values)]
    if not filled:
        return ""
    pooled = np.concatenate([values for _, values in filled])
    low, high = float(pooled.min()), float(pooled.max())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    shares = [np.histogram(values, edges)[0] / len(values) for _, values in filled]
    top = max(float(share.max()) for share in shares)
    x = Scale(float(edges[0]), float(edges[-1]), LEFT, WIDTH - RIGHT)
    y = Scale(0, top * 1.08, HEIGHT - BOTTOM, TOP)
    names = [(f"{name} ({len(values):,})", index) for index, (name, values) in enumerate(filled)]
    parts = [*_y_axis(y, "share"), *_x_axis(x, x_label), legend(names)]
    for index, share in enumerate(shares):
        steps = "".join(
            f"V{y(float(part)):.1f}H{x(float(edges[place + 1])):.1f}" for place, part in enumerate(share)
        )
        parts.append(f'<path class="area a{index} t{index}" d="M{LEFT} {y(0):.1f}{steps}V{y(0):.1f}Z"/>')
    return _svg(parts, f"Distribution of {x_label}")


def legend(names: Sequence[tuple[str, int]], *, chance: bool = False) -> str:
    """Name the series, each with its colour class, in a row above the plot."""
    parts, left = [], float(LEFT)
    for name, colour in names:
        parts.append(f'<rect class="s{colour}" x="{left:.0f}" y="7" width="12" height="12" rx="3"/>')
        parts.append(_text(left + 18, 17, name, "start"))
        left += 18 + 6.6 * len(name) + 20
    if chance:
        parts.append(f'<line class="chance" x1="{left:.0f}" x2="{left + 16:.0f}" y1="13" y2="13"/>')
        parts.append(_text(left + 22, 17, "chance", "start"))
    return "".join(parts)


def _y_axis(scale: Scale, label: str) -> list[str]:
    parts = []
    for tick in scale.ticks():
        at = scale(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(_text(LEFT - 8, at + 4, number(tick), "end"))
    if label:
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text text-anchor="middle" transform="translate(14 {middle}) rotate(-90)">'
            f"{escape(label)}</text>"
        )
    return parts


def _x_axis(scale: Scale, label: str) -> list[str]:
    base = HEIGHT - BOTTOM
    parts = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>']
    parts += [_text(scale(tick), base + 17, number(tick), "middle") for tick in scale.ticks()]
    return [*parts, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, label, "middle")]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
