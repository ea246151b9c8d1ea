"""Plots: what is drawn is where it should be."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from evaluation.plots import BarSeries, Line, Scale, grouped_bars, histogram, line_chart


def test_a_scale_maps_its_ends() -> None:
    scale = Scale(0, 10, 100, 200)

    assert (scale(0), scale(5), scale(10)) == (100, 150, 200)


def test_a_logarithmic_scale_gives_each_decade_the_same_room() -> None:
    scale = Scale(10, 1000, 0, 200, logarithmic=True)

    assert scale(100) == pytest.approx(100)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.3, 0.95), (0.985, 0.9999), (0, 123456)])
def test_ticks_are_few_and_within(low: float, high: float) -> None:
    ticks = Scale(low, high, 0, 1).ticks()

    assert 3 <= len(ticks) <= 12
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_epochs_are_whole() -> None:
    assert Scale(1, 3, 0, 1, whole=True).ticks() == [1, 2, 3]


def test_a_bars_height_is_its_value() -> None:
    drawing = grouped_bars(
        ["a"], [BarSeries("x", [0.5], [(0.4, 0.6)], 0), BarSeries("y", [0.25], [(0.2, 0.3)], 1)], [0.1]
    )

    heights = [float(height) for height in re.findall(r'<rect class="s\d"[^>]* height="([\d.]+)"', drawing)]
    assert heights[-2] == pytest.approx(2 * heights[-1], rel=0.01)


@pytest.mark.parametrize(
    "drawing",
    [
        grouped_bars(["<&>"], [BarSeries('"x"', [0.5], [(0.4, 0.6)], 0)], [0.1]),
        line_chart([Line("<a>", [(1, 2), (3, 4)])], x_label="<x>", y_label="&", mark=(3, "<mark>")),
        line_chart([Line("one point", [(1, 1)])], x_label="x", y_label="y"),
        histogram([("<s>", np.array([0.1, 0.2, 0.2])), ("none", np.array([]))], x_label="&x"),
        histogram([("equal", np.array([0.5, 0.5]))], x_label="x"),
    ],
)
def test_a_drawing_is_well_formed_whatever_it_is_called(drawing: str) -> None:
    assert ElementTree.fromstring(drawing).tag == "svg"


def test_nothing_to_draw_draws_nothing() -> None:
    assert line_chart([], x_label="x", y_label="y") == ""
    assert histogram([("none", np.array([]))], x_label="x") == ""
