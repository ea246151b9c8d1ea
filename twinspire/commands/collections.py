"""`twinspire collections`: what there is to search."""

from typing import Any

import click

from twinspire.console import examples, json_option, pass_session, print_json, show_table
from twinspire.session import Session


@click.command("collections", epilog=examples("twinspire collections --json"))
@json_option
@pass_session
def collections_command(session: Session, as_json: bool) -> None:
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
