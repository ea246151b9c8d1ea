"""Evaluations and comparisons as tables, drawn from their JSON, so that stored ones look alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

NARROW_COLUMNS = 120  # below, intervals are written as ±


def show_evaluation(console: Console, evaluation: Mapping[str, Any]) -> None:
    """Print the figures of an evaluation beside BM25's and chance, with what they rest on.

    Args:
        console: where to.
        evaluation: what `Evaluation.to_json` gives.
    """
    console.print(
        f"[bold]{escape(evaluation['model'])}[/] on {escape(evaluation['collection'])}: "
        f"{evaluation['n']:,} {evaluation['split']} queries over the full corpus of "
        f"{evaluation['corpus']:,} items",
        soft_wrap=not console.is_terminal,
    )
    systems = [(evaluation["system"], evaluation["metrics"], evaluation["intervals"])]
    if "dense" in evaluation:
        systems.append(("dense", evaluation["dense"], evaluation["dense_intervals"]))
    systems.append(("BM25", evaluation["bm25"], evaluation["bm25_intervals"]))
    table = _table(["metric", *(name for name, _, _ in systems), "chance", f"{evaluation['system']} - BM25"])
    narrow = console.width < NARROW_COLUMNS
    for metric in evaluation["metrics"]:
        table.add_row(
            metric,
            *(
                _with_interval(metrics[metric], intervals[metric], narrow=narrow)
                for _, metrics, intervals in systems
            ),
            f"[dim]{evaluation['chance'][metric]:.4f}[/]",
            _difference(evaluation["difference_to_bm25"][metric], narrow=narrow),
        )
    console.print(table)
    sign = "±" if narrow else "In brackets"
    note = (
        f"{sign}: 95 % bootstrap intervals over queries. "
        f"ANN recall@10 against exact search: {evaluation['ann_recall@10']:.3f}; "
        f"by exact search the vectors' MRR@10 is {evaluation['exact']['MRR@10']:.3f}. "
        f"Index {evaluation['index_version']}."
    )
    console.print(f"[dim]{escape(note)}[/]", soft_wrap=not console.is_terminal)
    if "reranking" in evaluation:
        console.print(_reranking(evaluation["reranking"]), soft_wrap=not console.is_terminal)


def _table(headings: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(escape(heading), justify="right" if place else "left")
    return table


def _with_interval(value: float, interval: Sequence[float], *, narrow: bool) -> str:
    return f"{value:.3f} [dim]{_interval(value, interval, '.3f', narrow)}[/]"


def _difference(difference: Mapping[str, Any], *, narrow: bool) -> str:
    low, high = difference["interval"]
    value = difference["difference"]
    text = f"{value:+.3f} {_interval(value, (low, high), '+.3f', narrow)}"
    if low <= 0 <= high:
        return f"[dim]{text}[/]"
    return f"[{'green' if low > 0 else 'red'}]{text}[/]"


def _interval(value: float, interval: Sequence[float], form: str, narrow: bool) -> str:
    """Write an interval; on a narrow screen the farther of its ends, as a distance."""
    low, high = interval
    if narrow:
        return f"±{max(value - low, high - value):.3f}"
    return f"\\[{low:{form}}, {high:{form}}]"


def _reranking(reranking: Mapping[str, Any]) -> str:
    figures = ", ".join(
        f"{'BM25' if name == 'bm25' else escape(name)} {metrics['MRR@10']:.3f}"
        for name, metrics in reranking["metrics"].items()
    )
    return (
        f"[dim]An easier task, not to be compared with the above: ranking each query's own "
        f"{reranking['candidates']:.0f} candidates gives MRR@10 {figures}; "
        f"chance is {reranking['chance']['MRR@10']:.3f}.[/]"
    )


def show_comparison(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print two systems side by side, with a paired test of their difference.

    Args:
        console: where to.
        comparison: what `Comparison.to_json` gives.
    """
    a, b = comparison["a"], comparison["b"]
    console.print(
        f"[bold]{escape(a)}[/] against [bold]{escape(b)}[/], on the same {comparison['n']:,} queries",
        soft_wrap=not console.is_terminal,
    )
    table = _table(["metric", a, b, f"{a} - {b}", "p", "better / worse"])
    for metric, difference in comparison["differences"].items():
        table.add_row(
            metric,
            f"{comparison['metrics']['a'][metric]:.3f}",
            f"{comparison['metrics']['b'][metric]:.3f}",
            _difference(difference, narrow=console.width < NARROW_COLUMNS),
            "< 0.001" if difference["p_value"] < 0.001 else f"{difference['p_value']:.3f}",
            f"{difference['wins']} / {difference['losses']}",
        )
    console.print(table)
