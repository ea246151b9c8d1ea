"""The sections of a report, each as HTML; every text from outside is escaped."""

from collections.abc import Sequence
from html import escape

from evaluation.intervals import PairedDifference
from evaluation.metrics import METRICS
from evaluation.plots import BarSeries, Line, grouped_bars, histogram, line_chart
from evaluation.results import Evaluation, Interval, Row, SystemScores

_BM25_COLOUR = 2  # the same in every report, whatever stands beside it
_SHORT = 220  # characters of a text, at most


def verdict(difference: PairedDifference, other: str) -> str:
    """Say in words whether a difference can be told from chance."""
    interval = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
    if not difference.significant:
        return f"no difference to {other} that 95 % can tell {interval}"
    word = "above" if difference.difference > 0 else "below"
    return f"{word} {other}, {interval}, p {_p(difference.p_value)}"


def _p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def _section(title: str, note: str, body: str) -> str:
    return f'<section><h2>{escape(title)}</h2><p class="note">{escape(note)}</p>{body}</section>'


def relevance_section(evaluation: Evaluation) -> str:
    """Metrics of every system, with intervals, chance and the difference to BM25."""
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


def effort_section(evaluation: Evaluation) -> str:
    """Recall against speed over the effort; empty if the index has none to choose."""
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


def samples_section(evaluation: Evaluation) -> str:
    """How scores spread; empty if they were not sampled."""
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


def reranking_section(evaluation: Evaluation) -> str:
    """Ranking own candidates, with its chance level; empty if no query has any."""
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


def training_section(evaluation: Evaluation) -> str:
    """The curves of the training; empty if none are known."""
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


def hardest_section(evaluation: Evaluation) -> str:
    """The queries that went worst, with texts; empty if they were not picked."""
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


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else text[:_SHORT].rsplit(" ", 1)[0] + " …"


def reading_section(evaluation: Evaluation) -> str:
    """What the figures rest on."""
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
