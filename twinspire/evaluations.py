"""Evaluations and comparisons as tables."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.intervals import PairedDifference
from evaluation.results import Comparison, Evaluation, SystemScores

Interval = tuple[float, float]


def show_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the figures of an evaluation beside BM25's and chance, with what they rest on."""
    systems = evaluation.systems()
    console.print(
        f"[bold]{escape(evaluation.model)}[/] on {escape(evaluation.collection)}: {evaluation.n:,} "
        f"{evaluation.split} queries over the full corpus of {evaluation.corpus:,} items"
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("metric")
    for system in systems:
        table.add_column(_name(system), justify="right")
    table.add_column("chance", justify="right", style="dim")
    table.add_column(f"{_name(systems[0])} - BM25", justify="right")
    for row in evaluation.rows():
        table.add_row(
            row.metric,
            *(_with_interval(system.metrics[row.metric], system.intervals[row.metric]) for system in systems),
            f"{row.chance:.4f}",
            _difference(row.difference),
        )
    console.print(table)
    console.print(
        f"[dim]In brackets: 95 % bootstrap intervals over queries. ANN recall@10 against exact search: "
        f"{evaluation.ann_recall:.3f}. Index {escape(evaluation.index_version)}.[/]"
    )
    _show_reranking(console, evaluation)


def _name(system: SystemScores) -> str:
    return "BM25" if system.name == "bm25" else system.name


def _with_interval(value: float, interval: Interval) -> str:
    return f"{value:.3f} [dim]\\[{interval[0]:.3f}, {interval[1]:.3f}][/]"


def _difference(difference: PairedDifference) -> str:
    text = f"{difference.difference:+.3f} \\[{difference.low:+.3f}, {difference.high:+.3f}]"
    if not difference.significant:
        return f"[dim]{text}[/]"
    return f"[{'green' if difference.difference > 0 else 'red'}]{text}[/]"


def _show_reranking(console: Console, evaluation: Evaluation) -> None:
    reranking = evaluation.reranking
    if reranking is None:
        return
    figures = ", ".join(f"{escape(name)} {value:.3f}" for name, value in reranking.mrr.items())
    console.print(
        f"[dim]An easier task, not to be compared with the above: ranking each query's own "
        f"{reranking.candidates:.0f} candidates gives MRR@10 {figures}; chance is {reranking.chance:.3f}.[/]"
    )


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Print two systems side by side, with a paired test of their difference."""
    a, b = comparison.a, comparison.b
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("metric")
    for heading in (a, b, f"{a} - {b}", "p", "better / worse"):
        table.add_column(heading, justify="right")
    for metric, difference in comparison.differences.items():
        table.add_row(
            metric,
            f"{comparison.a_metrics[metric]:.3f}",
            f"{comparison.b_metrics[metric]:.3f}",
            _difference(difference),
            "< 0.001" if difference.p_value < 0.001 else f"{difference.p_value:.3f}",
            f"{difference.wins} / {difference.losses}",
        )
    console.print(f"[bold]{escape(a)}[/] against [bold]{escape(b)}[/], on the same {comparison.n:,} queries")
    console.print(table)
