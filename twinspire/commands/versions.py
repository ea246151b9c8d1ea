"""`twinspire versions`: the index versions of a collection, and which of them is live."""

from typing import TYPE_CHECKING, Any

import click

from twinspire.console import examples, json_option, pass_session, print_json, show_table
from twinspire.groups import ListByDefault
from twinspire.session import Session

if TYPE_CHECKING:
    from retrieval.publishing import IndexVersion


@click.group(
    "versions",
    cls=ListByDefault,
    epilog=examples("twinspire versions demo", "twinspire versions rollback demo"),
)
def versions_group() -> None:
    """List a collection's index versions, make one live, or go back to the one before."""


@versions_group.command("list", epilog=examples("twinspire versions list demo"))
@click.argument("collection")
@json_option
@pass_session
def list_command(session: Session, collection: str, as_json: bool) -> None:
    """List the versions, newest first."""
    from retrieval.collections import require_collection
    from retrieval.publishing import list_versions

    workspace = session.workspace()
    require_collection(workspace, collection)
    rows = [_described(version) for version in list_versions(workspace, collection)]
    if as_json:
        print_json(rows)
        return
    show_table(
        f"Index versions of {collection}",
        ["version", "state", "model", "vectors", "type", "recall@10", "MiB", "created"],
        [
            [
                row["version"],
                "[green]live[/]" if row["live"] else row["state"],
                row["model"],
                f"{row['count']:,}",
                row["type"],
                f"{row['recall']:.3f}" if row["recall"] >= 0 else "-",
                f"{row['size_bytes'] / 2**20:.1f}",
                row["created_at"][:19],
            ]
            for row in rows
        ],
        right=["vectors", "recall@10", "MiB"],
        empty=f"{collection} has no index yet: `twinspire index {collection} --encoder NAME` builds one",
    )


def _described(version: "IndexVersion") -> dict[str, Any]:
    manifest = version.manifest
    parameters = manifest.parameters
    return {
        "version": version.version,
        "state": version.state,
        "live": version.live,
        "model": manifest.model,
        "encoder_fingerprint": manifest.fingerprint,
        "count": manifest.count,
        "dims": manifest.dims,
        "type": f"{parameters.backend} {parameters.kind} {parameters.storage}",
        "parameters": parameters.to_json(),
        "recall": parameters.recall,
        "fusion": dict(manifest.fusion),
        "size_bytes": sum(record.size for record in manifest.files.values()),
        "created_at": version.created_at,
    }


@versions_group.command("promote", epilog=examples("twinspire versions promote demo 000002-1f0c55aa"))
@click.argument("collection")
@click.argument("version")
@json_option
@pass_session
def promote_command(session: Session, collection: str, version: str, as_json: bool) -> None:
    """Make VERSION the live one; running servers take it up without losing a call."""
    from retrieval.collections import require_collection
    from retrieval.publishing import live_version, promote

    workspace = session.workspace()
    require_collection(workspace, collection)
    previous = live_version(workspace, collection) or ""
    promote(workspace, collection, version, previous)
    _show_change(collection, previous, version, as_json)


@versions_group.command("rollback", epilog=examples("twinspire versions rollback demo"))
@click.argument("collection")
@json_option
@pass_session
def rollback_command(session: Session, collection: str, as_json: bool) -> None:
    """Go back to the version that was live before."""
    from retrieval.collections import require_collection
    from retrieval.publishing import live_version, roll_back

    workspace = session.workspace()
    require_collection(workspace, collection)
    previous = live_version(workspace, collection) or ""
    now_live = roll_back(workspace, collection, previous)
    _show_change(collection, previous, now_live, as_json)


def _show_change(collection: str, previous: str, live: str, as_json: bool) -> None:
    if as_json:
        print_json({"collection": collection, "previous_version": previous, "live_version": live})
    else:
        click.echo(f"{collection}: {live} is live; before it was {previous or 'none'}")
