"""The HTML report: one safe file with everything in it."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from evaluation.evaluate import evaluate
from evaluation.report import render, write_report
from evaluation.results import (
    EffortPoint,
    Evaluation,
    HardQuery,
    ScoreSamples,
    TrainingCurve,
)
from retrieval.workspace import Workspace
from tests.evaluation.conftest import COLLECTION

HOSTILE = "</title><script>alert('x')</script><img src=x onerror=alert(1)>\" onload=\"x & <u>"
VOID = {"meta", "line", "rect", "path", "circle"}


class Tags(HTMLParser):
    """Collects tags and checks that they are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.attributes: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def full(toys: Workspace) -> Evaluation:
    """An evaluation with every section filled, and hostile text wherever text comes from outside."""
    cosines = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    query = HardQuery(
        id=HOSTILE, text=HOSTILE, metric=0.0, first_relevant_rank=None, found=HOSTILE, relevant=HOSTILE
    )
    return replace(
        evaluate(toys, COLLECTION, hybrid=True, details=True, record=False),
        collection=HOSTILE,
        model=HOSTILE,
        efforts=[EffortPoint(8, 0.9, 5000.0), EffortPoint(64, 0.99, 900.0, True)],
        samples=ScoreSamples(relevant=cosines[0], retrieved=cosines[1], random=cosines[2]),
        hardest=[query],
        curves={HOSTILE: [TrainingCurve(HOSTILE, [(0, 2.0), (1, 1.0)])]},
    )


def test_hostile_text_stays_text(full: Evaluation) -> None:
    tags = Tags(render(full))

    assert not {"script", "img", "u"} & set(tags.seen)
    assert not any(name.startswith("on") for name in tags.attributes)
    assert any(HOSTILE in text for text in tags.text)


def test_no_script_could_run_and_nothing_is_fetched(full: Evaluation) -> None:
    page = render(full)

    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page


def test_every_section_is_there(full: Evaluation) -> None:
    page = render(full)

    for title in (
        "Relevance",
        "Recall against speed",
        "Scores",
        "Re-ranking a query's own candidates".replace("'", "&#x27;"),
        "Training",
        "Hardest queries",
        "How to read this",
    ):
        assert f"<h2>{title}</h2>" in page


def test_tags_are_balanced(full: Evaluation) -> None:
    assert Tags(render(full)).open == []


def test_what_was_not_measured_is_left_out(toys: Workspace) -> None:
    page = render(evaluate(toys, COLLECTION, record=False))

    for title in ("Recall against speed", "Scores", "Training", "Hardest queries"):
        assert f"<h2>{title}</h2>" not in page


def test_light_and_dark_are_both_styled(full: Evaluation) -> None:
    assert "prefers-color-scheme: dark" in render(full)


def test_figures_stand_with_n_chance_and_interval(full: Evaluation) -> None:
    page = render(full)
    low, high = full.scores.intervals["MRR@10"]

    assert "30 test queries over the full corpus of 120 items" in page
    assert f"{full.scores.metrics['MRR@10']:.3f}" in page
    assert f"{low:.3f}-{high:.3f}" in page
    assert f"{full.chance['MRR@10']:.4f}" in page


def test_a_lone_surrogate_does_not_stop_the_report(full: Evaluation, tmp_path: Path) -> None:
    write_report(replace(full, collection="half \ud83d"), tmp_path / "report.html")

    assert (tmp_path / "report.html").read_text(encoding="utf-8").endswith("</html>\n")
