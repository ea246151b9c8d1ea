"""`twinspire export` and `twinspire import-bundle`: a workspace into a bundle, and back."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twinspire.console import examples, json_option, pass_session, print_json
from twinspire.progress import ProgressDisplay
from twinspire.session import Session

if TYPE_CHECKING:
    from indexer.exporting import ExportReport
    from indexer.restoring import RestoreReport

_BUNDLE = click.Path(path_type=Path)


@click.command(
    "export",
    epilog=examples("twinspire export backups/monday", "twinspire export films-only --collection films"),
)
@click.argument("bundle", type=_BUNDLE)
@click.option("--collection", help="Only this one, with the models it needs.  [default: all]")
@click.option("--copy", is_flag=True, help="Copy every file, also those that a hard link would do for.")
@json_option
@pass_session
def export_command(session: Session, bundle: Path, collection: str | None, copy: bool, as_json: bool) -> None:
    """Make the folder BUNDLE: the database as of one moment, the models, what is live; all verified.

    Servers and jobs may go on reading and writing. Files that never change are linked where BUNDLE is on the
    same disk, which is quick and takes no room; a bundle that is to outlive the disk must be copied off it.
    Keys are not exported.
    """
    from indexer.exporting import export_bundle

    session.on_interrupt = "No bundle was made."
    with ProgressDisplay() as progress:
        report = export_bundle(
            session.workspace(), bundle, collection=collection, copy=copy, on_progress=progress
        )
    _show(report, as_json=as_json, told=f"{bundle}: {_exported(report)}")


@click.command(
    "import-bundle", epilog=examples("twinspire --workspace restored import-bundle backups/monday")
)
@click.argument("bundle", type=_BUNDLE)
@json_option
@pass_session
def import_bundle_command(session: Session, bundle: Path, as_json: bool) -> None:
    """Restore BUNDLE into a new workspace, and search it to see that it answers as it did.

    The workspace must not be there, or be an empty folder. Nothing is written if the bundle is damaged, and
    no workspace is left if a search gives other hits than it gave when the bundle was made.
    """
    from indexer.restoring import import_bundle

    session.on_interrupt = "Nothing was restored."
    with ProgressDisplay() as progress:
        report = import_bundle(bundle, session.root, progress)
    _show(report, as_json=as_json, told=f"{session.root}: {_restored(report)}")


def _show(report: "ExportReport | RestoreReport", *, as_json: bool, told: str) -> None:
    if as_json:
        print_json(asdict(report))
        return
    click.echo(told)
    for what, why in report.left_out.items():
        click.echo(f"without {what}: {why}")


def _exported(report: "ExportReport") -> str:
    names = ", ".join(f"{name} ({held.items:,} items)" for name, held in report.collections.items())
    models = f"models {', '.join(report.models)}" if report.models else "no model"
    linked = f", {_mib(report.linked)} of it linked" if report.linked else ""
    return f"{names or 'no collection'}; {models}; {report.files} files, {_mib(report.size)}{linked}"


def _restored(report: "RestoreReport") -> str:
    items = sum(held.items for held in report.collections.values())
    live = sum(bool(held.live_version) for held in report.collections.values())
    return (
        f"{len(report.collections)} collections, {live} live, {items:,} items, {_mib(report.size)};"
        f" {report.searches} of {live} searched, with the hits of before"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
