"""`twinspire import folder`: pictures, sounds, videos and texts into a collection."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twinspire.console import examples, json_option, pass_session, print_json, say
from twinspire.importing import ON_INTERRUPT, chunk_option, collection_option, summary
from twinspire.progress import ProgressDisplay
from twinspire.session import Session

if TYPE_CHECKING:
    from indexer.folder_import import FolderReport


@click.command("folder", epilog=examples("twinspire import folder ~/Pictures --collection pictures"))
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@collection_option
@click.option(
    "--metadata",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A CSV file with a column `file`: captions in `text`, ids in `id`, the rest become attributes."
    "  [default: metadata.csv in the folder, if it is there]",
)
@click.option("--root-name", default="", help="The folder's name in uris.  [default: its own]")
@click.option("--thumbnails", is_flag=True, help="Write small pictures into the workspace.")
@chunk_option
@json_option
@pass_session
def folder_command(
    session: Session,
    folder: Path,
    collection: str,
    metadata: Path | None,
    root_name: str,
    thumbnails: bool,
    chunk: str,
    as_json: bool,
) -> None:
    """Pictures, sounds, videos and texts of a folder.

    JPEG PNG WebP GIF BMP, WAV FLAC MP3 Ogg Opus M4A, MP4 MOV WebM MKV, .txt and .md; sub-folders become
    the attribute `folder`. What cannot be read is set aside: `twinspire dead-letters` lists it.
    """
    from indexer.folder_import import import_folder
    from retrieval.chunking import parse_chunking

    session.on_interrupt = ON_INTERRUPT
    workspace = session.workspace(create=True)
    with ProgressDisplay() as progress:
        report = import_folder(
            workspace,
            collection,
            folder,
            metadata=metadata,
            root_name=root_name,
            thumbnails=thumbnails,
            chunking=parse_chunking(chunk) if chunk else None,
            on_progress=progress,
        )
    show_folder_import(report, collection, as_json=as_json)


def show_folder_import(report: "FolderReport", collection: str, *, as_json: bool) -> None:
    """Print what an import did: the counts on stdout, the bad files on stderr."""
    for name, reason in report.examples:
        say(f"  {name}: {reason}")
    if report.rejected + report.bad_rows > len(report.examples):
        say(f"  ... and {report.rejected + report.bad_rows - len(report.examples):,} more")
    if as_json:
        print_json(asdict(report))
        return
    kinds = ", ".join(f"{count:,} {modality}" for modality, count in report.modalities.items())
    click.echo(summary(collection, report, f" ({kinds or 'no items'})"))
    if report.skipped:
        click.echo("skipped: " + ", ".join(f"{count:,} {why}" for why, count in report.skipped.items()))
    if report.rows_without_file:
        click.echo(f"{report.rows_without_file:,} rows of the metadata name no file that is there")
    if report.rejected:
        click.echo(f"What could not be read: twinspire dead-letters {collection}")
