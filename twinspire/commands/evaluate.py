"""`twinspire eval`: how good the answers are, on judged queries."""

from pathlib import Path

import click

from twinspire.console import examples, json_option, out, pass_session, print_json
from twinspire.device_option import device_option
from twinspire.progress import StepDisplay
from twinspire.session import Session


@click.command(
    "eval",
    epilog=examples(
        "twinspire eval demo --hybrid --html report.html",
        "twinspire eval demo --compare tower@1 tower@2",
        "twinspire eval demo --compare tower@1 other-system.trec",
    ),
)
@click.argument("collection")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Which judged queries.",
)
@click.option("--encoder", default="", metavar="NAME[@VERSION]", help="Measure its newest index.")
@click.option("--version", "index_version", default="", help="Measure this index.  [default: the live one]")
@click.option("--hybrid", is_flag=True, help="Measure vectors and BM25 together, with each alone beside it.")
@click.option(
    "--compare",
    nargs=2,
    metavar="A B",
    help="Compare two of: encoders, index versions, TREC run files of any system; paired.",
)
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report with plots to this file."
)
@click.option(
    "--trec", type=click.Path(dir_okay=False, path_type=Path), help="Write the ranking as a TREC run file."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@device_option
@json_option
@pass_session
def eval_command(
    session: Session,
    collection: str,
    split: str,
    encoder: str,
    index_version: str,
    hybrid: bool,
    compare: tuple[str, str] | None,
    html: Path | None,
    trec: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure searching COLLECTION on judged queries, over the full corpus, beside BM25 and chance."""
    if compare:
        if encoder or index_version or html or trec:
            raise click.UsageError("--compare takes neither --encoder, --version, --html nor --trec")
        compare_models(session, collection, compare, split=split, hybrid=hybrid, as_json=as_json, seed=seed)
        return
    from evaluation.evaluate import evaluate
    from evaluation.report import write_report
    from evaluation.trec import write_run
    from twinspire.evaluations import show_evaluation

    with StepDisplay() as on_step:
        evaluation = evaluate(
            session.workspace(),
            collection,
            split,
            encoder=encoder,
            version=index_version,
            hybrid=hybrid,
            details=html is not None,
            seed=seed,
            on_step=on_step,
        )
    if html:
        write_report(evaluation, html)
    if trec:
        write_run(evaluation.scores.run, trec)
    if as_json:
        print_json(evaluation.to_json())
        return
    show_evaluation(out(), evaluation.to_json())
    for written in (html, trec):
        if written:
            click.echo(f"Written: {written}")


def compare_models(
    session: Session,
    collection: str,
    references: tuple[str, str],
    *,
    split: str,
    hybrid: bool,
    as_json: bool,
    seed: int = 0,
) -> None:
    """Measure two systems on the same queries, and print how they differ."""
    from evaluation.evaluate import compare_references
    from twinspire.evaluations import show_comparison

    with StepDisplay() as on_step:
        comparison = compare_references(
            session.workspace(), collection, references, split, hybrid=hybrid, seed=seed, on_step=on_step
        )
    if as_json:
        print_json(comparison.to_json())
    else:
        show_comparison(out(), comparison.to_json())
