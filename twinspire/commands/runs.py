"""`twinspire runs`: what was trained and evaluated, with what came of it."""

from dataclasses import asdict
from typing import Any

import click

from twinspire.console import examples, json_option, pass_session, print_json, show_table
from twinspire.session import Session

SHOWN_METRICS = 3


@click.command("runs", epilog=examples("twinspire runs --collection demo --limit 5"))
@click.option("--collection", help="Only of this collection.")
@click.option("--kind", help="Only of this kind, such as train, evaluation or probe.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@json_option
@pass_session
def runs_command(
    session: Session, collection: str | None, kind: str | None, limit: int, as_json: bool
) -> None:
    """List trainings and evaluations, newest first."""
    from retrieval.registry import list_runs

    runs = list_runs(session.workspace(), kind=kind, collection=collection, limit=limit)
    if as_json:
        print_json([asdict(run) for run in runs])
        return
    show_table(
        "",
        ["run", "kind", "collection", "model", "metrics", "seed", "when"],
        [
            [
                str(run.id),
                run.kind,
                run.collection,
                run.model,
                _in_short(run.metrics),
                str(run.seed),
                run.created_at[:19],
            ]
            for run in runs
        ],
        right=["run", "seed"],
        empty="no such run: `twinspire train`, `eval` and `probe` make them",
    )


def _in_short(metrics: Any) -> str:
    """Show the first few figures, those before the training last."""
    figures = [(name, value) for name, value in metrics.items() if isinstance(value, int | float)]
    figures.sort(key=lambda figure: figure[0].startswith("zero_shot."))
    return ", ".join(f"{name} {value:.3g}" for name, value in figures[:SHOWN_METRICS]) or "-"
