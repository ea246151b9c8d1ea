"""The figures and the page of a layer fusion."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from evaluation.fusion_report import FusionFigures, figures, render, write_fusion_report
from evaluation.grouped_intervals import grouped_estimates


def told(**changes: object) -> FusionFigures:
    return replace(_figures(), **changes)  # type: ignore[arg-type]


@cache
def _figures() -> FusionFigures:
    random = np.random.default_rng(0)
    systems = {
        name: random.random((20, 3)) for name in ("layer 0", "layer 1 (last)", "average of layers", "fused")
    }
    return figures(
        systems,
        np.full((20, 3), 0.1),
        np.arange(20) // 2,
        fused="fused",
        against=("layer 0",),
        model="fused@1",
        collection="<b>music</b>",
        labels="composer",
        group_by="work",
        items=20,
        groups=10,
        singletons=0,
        weights=[0.3, 0.7],
        weight_deviations=[0.1, 0.1],
    )


def test_the_gain_is_taken_query_by_query() -> None:
    figure = told()

    gain = figure.gains["layer 0"]["MRR"].value
    assert gain == pytest.approx(
        figure.systems["fused"]["MRR"].value - figure.systems["layer 0"]["MRR"].value
    )


def test_intervals_are_wider_where_queries_come_in_groups() -> None:
    values = np.repeat(np.random.default_rng(0).random((10, 1)), 10, axis=0)

    alone = grouped_estimates(values, np.arange(100))[0]
    grouped = grouped_estimates(values, np.arange(100) // 10)[0]

    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert grouped.value == alone.value


def test_the_page_escapes_names() -> None:
    assert "<b>music" not in render(told())
    assert "&lt;b&gt;music" in render(told())


def test_weights_and_what_probes_found_are_drawn_together() -> None:
    page = render(told(r2=[0.2, 0.4], best_targets=["tempo", "num_phrases"]))

    assert "learned weight" in page
    assert "mean R2 of probes" in page
    assert "best num_phrases" in page


def test_without_a_probing_the_page_says_how_to_get_one() -> None:
    assert "twinspire probe" in render(told())


def test_the_page_is_written(tmp_path: Path) -> None:
    write_fusion_report(told(), tmp_path / "fused.html")

    assert "<svg" in (tmp_path / "fused.html").read_text()
