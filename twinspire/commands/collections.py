"""`twinspire collections`: what there is to search."""

import sys
from typing import Any

import click

from twinspire.console import examples, json_option, pass_session, print_json, show_table
from twinspire.groups import ListAlone
from twinspire.session import Session


@click.group(
    "collections",
    cls=ListAlone,
    epilog=examples("twinspire collections", "twinspire collections delete drafts"),
)
def collections_group() -> None:
    """List the collections, or delete one."""


@collections_group.command("list", epilog=examples("twinspire collections list --json"))
@json_option
@pass_session
def list_command(session: Session, as_json: bool) -> None:
    """List the collections: items, segments, judged queries, and what is live."""
    rows = describe(session)
    if as_json:
        print_json(rows)
        return
    show_table(
        "",
        ["collection", "items", "segments", "queries", "live version", "model", "unindexed"],
        [
            [
                row["name"],
                f"{row['items']:,}",
                f"{row['segments']:,}",
                f"{row['queries']:,}",
                row["live_version"] or "-",
                row["model"] or "-",
                f"{row['unindexed']:,}",
            ]
            for row in rows
        ],
        right=["items", "segments", "queries", "unindexed"],
        empty="no collections yet: `twinspire import` makes one",
    )


@collections_group.command("delete", epilog=examples("twinspire collections delete drafts --yes"))
@click.argument("collection")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_session
def delete_command(session: Session, collection: str, yes: bool, as_json: bool) -> None:
    """Delete COLLECTION: its items, vectors, judged queries and index versions, in Redis too.

    Models, media files and the records of trainings stay. Running servers let go of it. The database's file
    keeps its size: what is imported next takes the room.
    """
    from retrieval.collections import count
    from retrieval.publishing import list_versions
    from retrieval.removal import remove_collection

    workspace = session.workspace()
    items, versions = count(workspace, collection).items, len(list_versions(workspace, collection))
    what = f"{collection} (items: {items:,}, index versions: {versions})"
    if not yes:
        _confirm(what)
    remove_collection(workspace, collection)
    if as_json:
        print_json({"collection": collection, "items": items, "versions": versions})
    else:
        click.echo(f"deleted {what}")


def _confirm(what: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: give --yes to delete all the same")
    if not click.confirm(f"Delete {what}, for good?", err=True):
        click.echo("nothing was deleted", err=True)
        raise click.exceptions.Exit(1)


def describe(session: Session) -> list[dict[str, Any]]:
    """Describe every collection of the workspace."""
    from retrieval.collections import collection_names, count
    from retrieval.item_vectors import count_segments
    from retrieval.judgements import judged_queries
    from retrieval.publishing import list_versions

    workspace = session.workspace()
    rows: list[dict[str, Any]] = []
    for name in collection_names(workspace):
        counts = count(workspace, name)
        live = next((found for found in list_versions(workspace, name) if found.live), None)
        rows.append(
            {
                "name": name,
                "items": counts.items,
                "segments": counts.segments,
                "queries": len(judged_queries(workspace, name)),
                "live_version": live.version if live else "",
                "model": live.manifest.model if live else "",
                "unindexed": count_segments(
                    workspace, name, after_key=live.manifest.built_key if live else 0
                ),
            }
        )
    return rows
