"""`twinspire probe`: which layers of an audio model know what."""

from pathlib import Path

import click

from twinspire.console import examples, json_option, pass_session, print_json
from twinspire.progress import ProgressDisplay
from twinspire.session import Session


@click.command(
    "probe",
    epilog=examples(
        "twinspire probe music --features whisper --group-by work --html probing.html",
        "twinspire search @clip.wav --collection music --aspect brightness=1,tempo=0.5",
    ),
)
@click.argument("collection")
@click.option(
    "--features",
    "encoder",
    required=True,
    metavar="NAME[@VERSION]",
    help="The encoder whose layers to probe.",
)
@click.option(
    "--group-by",
    default="",
    metavar="ATTRIBUTE",
    help="Part no equal values of it, such as work.  [default: items]",
)
@click.option("--no-neural", is_flag=True, help="Leave out the neural probe, which takes minutes.")
@click.option("--seed", type=int, default=42, show_default=True, help="Of the folds and the neural probe.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write heat maps to this file.")
@json_option
@pass_session
def probe_command(
    session: Session,
    collection: str,
    encoder: str,
    group_by: str,
    no_neural: bool,
    seed: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Predict fifteen properties of COLLECTION's sounds from each layer, and tell which layer knows which.

    The properties, such as brightness and tempo, are measured from the sounds. What is measured and what the
    layers give are kept, so a second probing decodes nothing. Searches with --aspect use the newest probing.
    """
    from twinspire.probing import run_probing, show_probing

    with ProgressDisplay() as on_progress:
        report = run_probing(
            session.workspace(),
            collection,
            encoder,
            group_by=group_by,
            neural=not no_neural,
            seed=seed,
            on_progress=on_progress,
        )
    if html:
        from evaluation.probe_report import write_probe_report

        write_probe_report(report, html)
    if as_json:
        print_json(report)
        return
    show_probing(report)
    if html:
        click.echo(f"Written: {html}")
