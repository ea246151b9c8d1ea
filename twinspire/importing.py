"""What imports have in common on the command line: options, and how they tell what came of it."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from indexer.folder_import import FolderReport
    from indexer.importing import ImportReport

collection_option = click.option("--collection", required=True, help="Where to; made if there is none.")

chunk_option = click.option(
    "--chunk",
    default="",
    metavar="WORDS:OVERLAP",
    help="Cut longer texts, such as 180:40.  [default: left to the encoder's limit]",
)

ON_INTERRUPT = "What was imported is kept: run the same command again, and it goes on from there."


def summary(collection: str, report: "ImportReport | FolderReport", more: str) -> str:
    """Tell in a line what an import did to the collection; `more` follows the counts."""
    counts = [
        f"{count:,} {name}"
        for name in ("inserted", "replaced", "unchanged", "rejected", "duplicates")
        if (count := getattr(report, name)) or name == "inserted"
    ]
    return f"{collection}: {', '.join(counts)}{more}{'' if report.changed else '; nothing changed'}"
