"""An evaluation as one HTML file that needs nothing else: no script, no network, light and dark."""

from html import escape
from pathlib import Path

from evaluation.page import page
from evaluation.report_sections import (
    effort_section,
    hardest_section,
    reading_section,
    relevance_section,
    reranking_section,
    samples_section,
    training_section,
    verdict,
)
from evaluation.results import Evaluation


def write_report(evaluation: Evaluation, file: Path) -> None:
    """Write the report, replacing the file."""
    file.write_text(render(evaluation), encoding="utf-8", errors="backslashreplace")


def render(evaluation: Evaluation) -> str:
    """Compose the page; every text from outside is escaped."""
    sections = [
        _header(evaluation),
        _tiles(evaluation),
        relevance_section(evaluation),
        effort_section(evaluation),
        samples_section(evaluation),
        reranking_section(evaluation),
        training_section(evaluation),
        hardest_section(evaluation),
        reading_section(evaluation),
    ]
    return page(f"{evaluation.model} on {evaluation.collection}", sections)


def _header(evaluation: Evaluation) -> str:
    facts = (
        f"{evaluation.n:,} {evaluation.split} queries over the full corpus of {evaluation.corpus:,} items",
        f"index {evaluation.index_version}",
        f"encoder {evaluation.fingerprint[:12]}",
        f"data {evaluation.data_digest[:12]}",
        f"seed {evaluation.seed}",
    )
    return (
        f'<header><p class="kicker">Twinspire evaluation</p><h1>{escape(evaluation.model)} '
        f"<span>on {escape(evaluation.collection)}, {escape(evaluation.scores.name)}</span></h1>"
        f'<p class="facts">{" · ".join(escape(fact) for fact in facts)}</p></header>'
    )


def _tiles(evaluation: Evaluation) -> str:
    first = evaluation.rows()[0]
    low, high = first.interval
    tiles = [
        ("MRR@10", f"{first.value:.3f}", f"95 % interval {low:.3f} to {high:.3f}; chance {first.chance:.4f}"),
        ("to BM25, same queries", f"{first.difference.difference:+.3f}", verdict(first.difference, "BM25")),
        (
            "Recall@100",
            f"{evaluation.scores.metrics['Recall@100']:.3f}",
            "of the relevant items are among the first hundred",
        ),
        ("ANN recall@10", f"{evaluation.ann_recall:.3f}", _price_of_approximation(evaluation)),
    ]
    body = "".join(
        f'<div class="tile"><h2>{escape(name)}</h2><p class="big">{value}</p><p>{escape(note)}</p></div>'
        for name, value, note in tiles
    )
    return f'<div class="tiles">{body}</div>'


def _price_of_approximation(evaluation: Evaluation) -> str:
    served = (evaluation.dense or evaluation.scores).metrics["MRR@10"]
    exact = evaluation.exact.metrics["MRR@10"]
    return f"of exact search's nearest; exact search would give MRR@10 {exact:.3f}, the index {served:.3f}"
