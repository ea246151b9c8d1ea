"""`twinspire import`: items, and judged queries, into a collection."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twinspire.commands.importing_features import features_command
from twinspire.commands.importing_folder import folder_command
from twinspire.console import examples, json_option, pass_session, print_json, say, with_options
from twinspire.importing import ON_INTERRUPT, chunk_option, collection_option, summary
from twinspire.progress import ProgressDisplay
from twinspire.session import Session

if TYPE_CHECKING:
    from indexer.importing import ImportReport


@dataclass(frozen=True, slots=True)
class SourceCommand:
    """A kind of source, as a sub-command."""

    name: str
    kind: str
    summary: str
    columns: bool  # whether --id, --text and --attributes say what is what
    example: str


SOURCES = (
    SourceCommand(
        "jsonl",
        "jsonl",
        "One JSON object a line (also .gz).",
        True,
        "twinspire import jsonl articles.jsonl --collection articles --text title,body",
    ),
    SourceCommand(
        "csv",
        "csv",
        "A CSV or TSV file with a heading.",
        True,
        "twinspire import csv films.csv --collection films --id imdb_id --text plot --attributes year,genre",
    ),
    SourceCommand(
        "parquet",
        "parquet",
        "A Parquet file (needs the extra `parquet`).",
        True,
        "twinspire import parquet papers.parquet --collection papers --id doi --text abstract",
    ),
    SourceCommand(
        "sqlite",
        "sqlite",
        "A table of a SQLite database.",
        True,
        "twinspire import sqlite movies.db --collection films --table omdb --id imdbID --text Title",
    ),
    SourceCommand(
        "beir",
        "beir",
        "A BEIR folder: corpus.jsonl, queries.jsonl and qrels/; fills the judged queries too.",
        False,
        "twinspire import beir datasets/scifact --collection scifact",
    ),
    SourceCommand(
        "msmarco",
        "msmarco",
        "MS MARCO v1.1 or v2.1 rows (JSON, JSONL or Parquet, also .gz); fills the judged queries too.",
        False,
        "twinspire import msmarco dev_v1.1.json.gz --collection marco",
    ),
    SourceCommand(
        "documents-db",
        "documents_db",
        "A documents.db with ids {query}_{number}, as two-tower document search wrote them.",
        False,
        "twinspire import documents-db documents.db --collection documents",
    ),
    SourceCommand(
        "triplets",
        "triplets",
        "Rows of query, positive and negative passage; fills the judged queries too.",
        False,
        "twinspire import triplets triplets.jsonl --collection documents",
    ),
    SourceCommand(
        "trec",
        "trec",
        "TREC qrels, with the file of query texts in --queries; adds judged queries to items there.",
        False,
        "twinspire import trec qrels.txt --queries topics.tsv --collection robust",
    ),
)


@click.group(
    "import",
    epilog=examples("twinspire import jsonl articles.jsonl --collection articles --text title,body"),
)
def import_group() -> None:
    """Import items, and judged queries where the source has them.

    Bad rows are counted, shown, and written to a file; the good ones are imported. An import that was
    interrupted goes on where it stopped; one that is repeated changes nothing.
    """


def _make(source: SourceCommand) -> click.Command:
    def command(session: Session, source_path: Path, **told: Any) -> None:
        run_import(session, source.kind, source_path, **told)

    options: list[Callable[[Any], Any]] = [
        click.argument("source_path", metavar="SOURCE", type=click.Path(path_type=Path)),
        collection_option,
    ]
    if source.columns:
        options += [
            click.option("--id", "id_column", default="", help="The column of ids.  [default: id or _id]"),
            click.option(
                "--text", "text_columns", default="", help="The text column, or several: title,body."
            ),
            click.option(
                "--attributes",
                "attribute_columns",
                default=None,
                help="Columns to keep as attributes, such as year,genre.  [default: all the others]",
            ),
        ]
    if source.kind == "sqlite":
        options.append(click.option("--table", default="", help="The table.  [default: the only one]"))
    if source.kind == "trec":
        options.append(
            click.option("--queries", type=click.Path(path_type=Path), help="The file of query texts.")
        )
    if not source.columns:
        options.append(
            click.option(
                "--split",
                default="",
                help="The split of the judged queries: train, validation or test.  [default: drawn by hash]",
            )
        )
    options += [
        chunk_option,
        click.option(
            "--rejects",
            type=click.Path(dir_okay=False, path_type=Path),
            help="The file for bad rows.  [default: in the workspace]",
        ),
        json_option,
        pass_session,
    ]
    make = click.command(source.name, help=source.summary, epilog=examples(source.example))
    return make(with_options(*options)(command))


for _source in SOURCES:
    import_group.add_command(_make(_source))
import_group.add_command(folder_command)
import_group.add_command(features_command)


def run_import(
    session: Session,
    kind: str,
    source_path: Path,
    *,
    collection: str,
    chunk: str,
    rejects: Path | None,
    as_json: bool,
    id_column: str = "",
    text_columns: str = "",
    attribute_columns: str | None = None,
    table: str = "",
    queries: Path | None = None,
    split: str = "",
) -> None:
    """Import a source and say what came of it."""
    from indexer.importers.source import Source
    from indexer.importing import import_source
    from retrieval.chunking import parse_chunking

    session.on_interrupt = ON_INTERRUPT
    source = Source(
        kind=kind,
        path=source_path,
        id=id_column,
        text=_names(text_columns),
        attributes=None if attribute_columns is None else _names(attribute_columns),
        table=table,
        queries=queries,
        split=split,
    )
    chunking = parse_chunking(chunk) if chunk else None
    rejects = rejects or session.root / "rejects" / f"{collection}-{source_path.name}.jsonl"
    workspace = session.workspace(create=True)
    with ProgressDisplay() as progress:
        report = import_source(
            workspace, collection, source, chunking=chunking, on_progress=progress, rejects=rejects
        )
    show_import(report, collection, as_json=as_json)


def _names(columns: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in columns.split(",") if name.strip())


def show_import(report: "ImportReport", collection: str, *, as_json: bool) -> None:
    """Print what an import did: the counts on stdout, the bad rows on stderr."""
    for row in report.examples:
        say(f"  row {row.number}: {row.reason}: {row.raw[:100]}")
    if report.rejected > len(report.examples):
        say(f"  ... and {report.rejected - len(report.examples):,} more bad rows")
    if as_json:
        print_json(asdict(report))
        return
    judged = f", {report.queries:,} judged queries" if report.queries else ""
    click.echo(summary(collection, report, judged))
    if report.rejects_file:
        click.echo(f"The bad rows are in {report.rejects_file}")
