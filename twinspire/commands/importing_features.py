"""`twinspire import features`: layer features of another system."""

from dataclasses import asdict
from pathlib import Path

import click

from twinspire.console import examples, json_option, pass_session, print_json, say
from twinspire.importing import collection_option
from twinspire.progress import ProgressDisplay
from twinspire.session import Session


@click.command(
    "features",
    epilog=examples("twinspire import features old/features --catalogue tracks.csv --collection music"),
)
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@collection_option
@click.option(
    "--catalogue",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A CSV file: track_id (or file, name) names the track, the rest become attributes.",
)
@click.option(
    "--backbone",
    default="",
    metavar="NAME[@VERSION]",
    help="The encoder that made them.  [default: one is registered that stands for them, without a model]",
)
@click.option(
    "--name",
    default="imported-features",
    show_default=True,
    help="What to call the one that stands for them.",
)
@click.option("--origin", default="", help="What made them, such as MERT-v1-95M: told on its card.")
@json_option
@pass_session
def features_command(
    session: Session,
    folder: Path,
    collection: str,
    catalogue: Path | None,
    backbone: str,
    name: str,
    origin: str,
    as_json: bool,
) -> None:
    """Arrays `<track>.npy` of shape [layers, width], of FOLDER or its folder `aggregated`.

    Each becomes an item without a sound: layer fusions train on them, and they are found by example.
    """
    from indexer.features_import import import_features

    workspace = session.workspace(create=True)
    with ProgressDisplay() as progress:
        report = import_features(
            workspace,
            collection,
            folder,
            catalogue=catalogue,
            backbone=backbone,
            name=name,
            origin=origin,
            on_progress=progress,
        )
    for file, reason in report.examples:
        say(f"  {file}: {reason}")
    if as_json:
        print_json(asdict(report))
        return
    click.echo(
        f"{collection}: {report.imported:,} tracks, {report.described:,} of them in the catalogue, "
        f"{report.rejected:,} rejected; {report.layers} layers of {report.width}, of {report.model}"
    )
    say(
        f"Next: twinspire train layer-fusion {collection} --labels ATTRIBUTE --backbone {report.model} "
        "--name fused"
    )
