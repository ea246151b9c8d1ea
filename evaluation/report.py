"""An evaluation as one HTML file that needs nothing else: no script, no network, light and dark."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from evaluation.intervals import PairedDifference
from evaluation.metrics import METRICS
from evaluation.plots import BarSeries, Line, grouped_bars, histogram, line_chart
from evaluation.results import Comparison, Evaluation, Interval, Row, SystemScores

_BM25_COLOUR = 2  # the same in every report, whatever stands beside it
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # so not even a hole in the escaping runs a script


def write_report(evaluation: Evaluation, file: Path, comparison: Comparison | None = None) -> None:
    """Write the report, replacing the file; a comparison with another system may stand in it."""
    page = render(evaluation, comparison)
    file.write_text(page, encoding="utf-8", errors="backslashreplace")


def render(evaluation: Evaluation, comparison: Comparison | None = None) -> str:
    """Compose the page; every text from outside is escaped."""
    sections = [
        _header(evaluation),
        _tiles(evaluation),
        _relevance(evaluation),
        _comparison(comparison) if comparison else "",
        _effort(evaluation),
        _samples(evaluation),
        _reranking(evaluation),
        _training(evaluation),
        _hardest(evaluation),
        _reading(evaluation),
    ]
    style = files("evaluation").joinpath("report.css").read_text(encoding="utf-8")
    title = escape(f"{evaluation.model} on {evaluation.collection}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


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
        ("to BM25, same queries", f"{first.difference.difference:+.3f}", _verdict(first.difference, "BM25")),
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


def _verdict(difference: PairedDifference, other: str) -> str:
    interval = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
    if not difference.significant:
        return f"no difference to {other} that 95 % can tell {interval}"
    word = "above" if difference.difference > 0 else "below"
    return f"{word} {other}, {interval}, p {_p(difference.p_value)}"


def _p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def _section(title: str, note: str, body: str) -> str:
    return f'<section><h2>{escape(title)}</h2><p class="note">{escape(note)}</p>{body}</section>'


def _relevance(evaluation: Evaluation) -> str:
    systems = evaluation.systems()
    bars = grouped_bars(
        METRICS,
        [
            BarSeries(
                _label(system, evaluation),
                [system.metrics[metric] for metric in METRICS],
                [system.intervals[metric] for metric in METRICS],
                _BM25_COLOUR if system.name == "bm25" else place,
            )
            for place, system in enumerate(systems)
        ],
        [evaluation.chance[metric] for metric in METRICS],
    )
    table = _relevance_table(evaluation)
    note = "Whiskers are 95 % bootstrap intervals; the dotted line is what a random ranking scores."
    return _section("Relevance", note, bars + table)


def _label(system: SystemScores, evaluation: Evaluation) -> str:
    return "BM25" if system.name == "bm25" else f"{evaluation.model} {system.name}"


def _relevance_table(evaluation: Evaluation) -> str:
    header = [
        "metric",
        *(_label(system, evaluation) for system in evaluation.systems()),
        "chance",
        "difference to BM25",
        "p",
    ]
    rows = [_relevance_row(row, evaluation) for row in evaluation.rows()]
    return _table(header, rows)


def _relevance_row(row: Row, evaluation: Evaluation) -> list[str]:
    values = [
        _with_interval(system.metrics[row.metric], system.intervals[row.metric])
        for system in evaluation.systems()
    ]
    return [
        escape(row.metric),
        *values,
        f"{row.chance:.4f}",
        *_difference(row.difference),
    ]


def _with_interval(value: float, interval: Interval) -> str:
    return f"<b>{value:.3f}</b> <small>{interval[0]:.3f}-{interval[1]:.3f}</small>"


def _difference(difference: PairedDifference) -> list[str]:
    style = ("up" if difference.difference > 0 else "down") if difference.significant else "same"
    return [
        f'<span class="{style}">{difference.difference:+.3f}</span> '
        f"<small>{difference.low:+.3f} to {difference.high:+.3f}</small>",
        _p(difference.p_value).removeprefix("= "),
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], style: str = "figures") -> str:
    """Lay out cells that are HTML already, under a header that is plain text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{style}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _comparison(comparison: Comparison) -> str:
    rows = [
        [
            escape(metric),
            f"{comparison.a_metrics[metric]:.3f}",
            f"{comparison.b_metrics[metric]:.3f}",
            *_difference(difference),
            f"{difference.wins} : {difference.losses}",
        ]
        for metric, difference in comparison.differences.items()
    ]
    header = ["metric", comparison.a, comparison.b, "difference", "p", "queries won : lost"]
    first = comparison.differences["MRR@10"]
    note = f"{comparison.a} against {comparison.b}, query by query. MRR@10: {_verdict(first, comparison.b)}."
    return _section("Comparison", note, _table(header, rows))


def _effort(evaluation: Evaluation) -> str:
    points = evaluation.efforts
    if len(points) < 2:
        return ""
    chart = line_chart(
        [
            Line(
                "recall",
                [(point.queries_per_second, point.recall) for point in points],
                [
                    f"effort {point.effort}: recall {point.recall:.4f} at {point.queries_per_second:,.0f}/s"
                    for point in points
                ],
                next((place for place, point in enumerate(points) if point.served), None),
            )
        ],
        x_label="queries per second, this machine, one batch",
        y_label="recall@10",
        logarithmic_x=True,
    )
    rows = [
        [
            f"{point.effort}{' <small>served</small>' if point.served else ''}",
            f"{point.recall:.4f}",
            f"{point.queries_per_second:,.0f}",
        ]
        for point in points
    ]
    note = "What the index gives up for speed: each point is another effort, the large one is served."
    return _section(
        "Recall against speed",
        note,
        chart + _table(["effort", "recall@10", "queries per second"], rows, "figures narrow"),
    )


def _samples(evaluation: Evaluation) -> str:
    samples = evaluation.samples
    if samples is None:
        return ""
    chart = histogram(
        [
            ("relevant", samples.relevant),
            ("found, not judged relevant", samples.retrieved),
            ("random items", samples.random),
        ],
        x_label="cosine to the query",
    )
    note = (
        "How well the score tells relevant items from others. Curves that lie on each other mean that "
        "no threshold parts them; curves all near 1 mean that the space has collapsed."
    )
    return _section("Scores", note, chart)


def _reranking(evaluation: Evaluation) -> str:
    found = evaluation.reranking
    if found is None:
        return ""
    rows = [
        [escape("BM25" if name == "bm25" else name), _with_interval(value, found.intervals[name])]
        for name, value in found.mrr.items()
    ]
    rows.append(["chance", f"{found.chance:.3f}"])
    note = (
        f"An easier task, and no measure of search: each of {found.queries:,} queries ranks only its own "
        f"{found.candidates:.1f} candidates, where a random order already scores {found.chance:.2f}."
    )
    return _section(
        "Re-ranking a query's own candidates", note, _table(["system", "MRR@10"], rows, "figures narrow")
    )


def _training(evaluation: Evaluation) -> str:
    charts = [
        f"<figure><figcaption>{escape(title)}</figcaption>"
        + line_chart(
            [Line(curve.name, curve.points) for curve in curves],
            x_label="epoch",
            y_label=title,
        )
        + "</figure>"
        for title, curves in evaluation.curves.items()
        if any(curve.points for curve in curves)
    ]
    if not charts:
        return ""
    return _section(
        "Training",
        "As this version was trained; relevance is that of the validation queries, over the full corpus.",
        "".join(charts),
    )


def _hardest(evaluation: Evaluation) -> str:
    if not evaluation.hardest:
        return ""
    rows = [
        [
            f"{escape(query.text)}<small>{escape(query.id)}</small>",
            f"{query.metric:.2f}",
            str(query.first_relevant_rank or "-"),
            escape(_short(query.found)),
            escape(_short(query.relevant)),
        ]
        for query in evaluation.hardest
    ]
    header = ["query", "nDCG@10", "rank of first relevant", "what came first", "what should have"]
    note = "The lowest nDCG@10; a dash means that nothing relevant was among the first hundred."
    return _section("Hardest queries", note, _table(header, rows, "texts"))


def _short(text: str, limit: int = 220) -> str:
    return text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " …"


def _reading(evaluation: Evaluation) -> str:
    lines = [
        "Every figure ranks the full corpus. Items that nobody judged count as not relevant.",
        "Intervals: percentile bootstrap over queries. p: paired sign-flip permutations. 10,000 draws each.",
        "Chance: the exact expectation of a random ranking of the same corpus.",
        "BM25: SQLite FTS5 with Porter stemming, any term may match, over the same items and queries.",
    ]
    if evaluation.missing_relevant:
        lines.append(
            f"{evaluation.missing_relevant:,} relevant items are not in the collection: counted as missed."
        )
    if evaluation.timings_s:
        lines.append(
            "Seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in evaluation.timings_s.items())
        )
    body = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<footer><h2>How to read this</h2><ul>{body}</ul></footer>"
