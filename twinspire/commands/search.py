"""`twinspire search`: ask, and see the answers."""

import random
import sys
from pathlib import Path

import click

from twinspire.connection_options import Access, connection_options, server_address
from twinspire.console import examples, json_option, pass_session
from twinspire.device_option import device_option
from twinspire.session import Session

PROMPT_HELP = "Type a query; blank = a random test query, #ID or digits = that judged query, Ctrl-D ends."


def aspect_weights(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> dict[str, float] | None:
    """Read weights such as brightness=1,tempo=0.5; without a weight it is 1."""
    if value is None:
        return None
    weights = {}
    for part in value.split(","):
        name, _, weight = part.partition("=")
        try:
            weights[name.strip().replace("-", "_").replace(" ", "_")] = float(weight or 1)
        except ValueError:
            raise click.BadParameter(f"expected NAME=WEIGHT, such as tempo=0.5, got {part!r}") from None
    return weights


@click.command(
    "search",
    epilog=examples(
        'twinspire search "who painted the night watch" --collection demo',
        'twinspire search "space" --collection films --filter "year >= 1990 and genre = \'Drama\'" --hybrid',
        "twinspire search @holiday.jpg --collection pictures",
        "twinspire search @clip.wav --collection music --aspect brightness=1,tempo=0.5",
        "twinspire search --collection demo",
    ),
)
@click.argument("text", metavar="[TEXT|@FILE]", required=False)
@click.option("--collection", help="Where to look.  [default: the only one]")
@click.option(
    "--server",
    metavar="HOST:PORT",
    callback=server_address,
    help="Ask a running server.  [default: open the workspace]",
)
@click.option("--limit", type=int, default=10, show_default=True, help="Hits to show, 1 to 1000.")
@click.option("--filter", "expression", metavar="EXPR", help="Only items whose attributes match.")
@click.option("--hybrid", is_flag=True, help="Vectors and BM25 together, by the weight learned at build.")
@click.option("--item", "item_id", metavar="ID", help="More like this item, instead of TEXT.")
@click.option("--diverse", is_flag=True, help="Spread the hits: each as unlike those before as it is near.")
@click.option("--moments", type=int, default=1, help="Show up to so many parts of one item.")
@click.option(
    "--aspect",
    "aspects",
    metavar="NAME=WEIGHT,...",
    callback=aspect_weights,
    help="Compare sounds by this alone, such as brightness=1,tempo=0.5; see `twinspire probe`.",
)
@click.option("--exact", is_flag=True, help="Compare with every vector.")
@click.option("--index-version", default="", help="Search this version instead of the live one.")
@click.option("--explain", is_flag=True, help="With --json: say how each score came about.")
@connection_options
@device_option
@json_option
@pass_session
def search_command(
    session: Session,
    text: str | None,
    collection: str | None,
    server: str | None,
    limit: int,
    expression: str | None,
    hybrid: bool,
    item_id: str | None,
    diverse: bool,
    moments: int,
    aspects: dict[str, float] | None,
    exact: bool,
    index_version: str,
    explain: bool,
    access: Access,
    as_json: bool,
) -> None:
    """Find the items nearest to TEXT, or to each line of @FILE (@- reads stdin).

    @FILE may be a picture, a sound or a video too, where the collection's encoder takes such.

    Without TEXT, on a terminal, it asks at a prompt: a blank line takes a random test query, digits or
    #ID a judged query, anything else is searched. Hits judged relevant are marked.
    """
    from retrieval.search import Diversity
    from twinspire.engines import open_engine, the_collection
    from twinspire.queries import SearchQuery
    from twinspire.searching import Searching

    collection = the_collection(session, server, access, collection)
    media = _media(text)

    def query(asked: str) -> SearchQuery:
        return SearchQuery(
            text=None if item_id or media else asked,
            image=media.get("image"),
            audio=media.get("audio"),
            video=media.get("video"),
            item_id=item_id,
            hybrid=hybrid,
            limit=limit,
            filter=expression,
            diversity=Diversity() if diverse else None,
            moments=moments,
            aspects=aspects,
            exact=exact,
            index_version=index_version,
            explain=explain,
        )

    with open_engine(session, server, access) as search:
        searching = Searching(
            session, collection, lambda asked: search(collection, query(asked)), as_json=as_json
        )
        if item_id:
            searching.show([f"like {item_id}"], several=False)
        elif media:
            searching.show([text or ""], several=False)
        elif (texts := _texts(text)) is not None:
            searching.show(texts, several=(text or "").startswith("@"))
        elif sys.stdin.isatty():
            click.echo(PROMPT_HELP, err=True)
            searching.ask(random.Random())
        else:
            raise click.UsageError("give TEXT, @FILE or --item, or run it on a terminal")


def _media(argument: str | None) -> dict[str, Path]:
    """Take @FILE, by its kind, if it is a picture, a sound or a video."""
    from twinspire.media_files import media_kind

    if argument is None or not argument.startswith("@") or argument == "@-":
        return {}
    file = Path(argument[1:])
    kind = media_kind(file)
    return {kind: file} if kind else {}


def _texts(argument: str | None) -> list[str] | None:
    """Read what to search for; None means to ask."""
    if argument is None or not argument.startswith("@"):
        return None if argument is None else [argument]
    from twinspire.media_files import lines_of, read_lines

    if argument == "@-":
        return lines_of(sys.stdin.buffer.read(), argument)
    return read_lines(Path(argument[1:]))
