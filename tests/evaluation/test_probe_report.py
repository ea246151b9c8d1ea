import math
import re
from typing import Any
from xml.etree import ElementTree

from evaluation.heat_map import HeatRow, heat_map
from evaluation.probe_report import render


def test_a_cell_is_as_strong_as_its_value() -> None:
    drawing = heat_map([HeatRow("a", [0.25, -3.0, 1.0])], ["0", "1", "2"], label="x")

    assert re.findall(r"fill-opacity:([\d.]+)", drawing) == ["0.250", "0.000", "1.000"]


def test_what_is_not_a_number_is_left_empty() -> None:
    drawing = heat_map([HeatRow("a", [0.25, math.nan])], ["0", "1"], label="x")

    assert drawing.count("<rect") == 1


def test_the_marked_cell_stands_out() -> None:
    drawing = heat_map([HeatRow("a", [0.1, 0.2], marked=1)], ["0", "1"], label="x")

    assert drawing.count('class="heat best"') == 1


def test_a_heat_map_is_well_formed_whatever_it_is_called() -> None:
    drawing = heat_map([HeatRow("<&>", [0.5, -2.0])], ["<", '"'], label="<&>")

    assert ElementTree.fromstring(drawing).tag == "svg"


def test_no_rows_draw_nothing() -> None:
    assert heat_map([], ["0"], label="x") == ""


def probing() -> dict[str, Any]:
    told = {"best_layer": 1, "best_r2": 0.9, "best_interval": [0.8, 0.95], "r2": [0.2, 0.9]}
    none = {"best_layer": None, "best_r2": None, "best_interval": [None, None], "r2": [None, None]}
    target = {"unit": "Hz", "mean": 1.0, "deviation": 0.5, "baseline_r2": -0.01}
    return {
        "collection": "<music>",
        "features": "whisper@1",
        "run": 3,
        "n": 20,
        "groups": 10,
        "group_by": "work",
        "folds": 5,
        "layers": 2,
        "width": 4,
        "mapped_by": "tuned",
        "aspects_model": "music-aspects@1",
        "targets": {
            "tempo": target | {"tuned": told, "ridge": told},
            "num_phrases": target | {"baseline_r2": None, "tuned": none, "ridge": none},
        },
        "aspect_search": {
            "tempo": {
                way: {"value": 0.5, "low": 0.4, "high": 0.6} for way in ("aspect", "vector", "measured")
            }
        },
        "aspects": {"tempo": [0.1, 0.9], "phrasing": [0.0, 0.0]},
    }


def test_the_report_shows_each_probe_its_intervals_and_the_aspects() -> None:
    page = render(probing())

    assert page.count("<svg") == 3
    assert "0.900 [0.800, 0.950] at 1" in page
    assert "No layer knows phrasing" in page


def test_the_report_escapes_what_comes_from_outside() -> None:
    page = render(probing())

    assert "<music>" not in page
    assert "&lt;music&gt;" in page
