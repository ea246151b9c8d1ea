"""`twinspire bench`: ratios measured in one run on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from twinspire.console import examples, json_option, out, pass_session, print_json
from twinspire.device_option import device_option
from twinspire.progress import StepDisplay
from twinspire.session import Session

if TYPE_CHECKING:
    from evaluation.bench.result import BenchResult


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("bench", epilog=examples("twinspire --workspace demo-workspace bench search demo"))
def bench_group() -> None:
    """Measure this machine: what is compared is measured in the same run.

    What the figures mean, and what they were elsewhere, is in docs/benchmarks.md.
    """


@bench_group.command(
    "search",
    epilog=examples(
        "twinspire --workspace demo-workspace bench search demo",
        "twinspire --workspace demo-workspace bench search demo --sizes 10000,100000,1000000 --no-filtered",
        "twinspire --workspace demo-workspace bench search demo --clients 1,16,256 --plot clients.svg",
    ),
)
@click.argument("collection", default="demo")
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each spell.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Of paired measurements."
)
@click.option("--no-filtered", is_flag=True, help="Leave out filtered search.")
@click.option(
    "--clients", default="1,8,64", show_default=True, metavar="N,N", help="At a time, each with a connection."
)
@click.option(
    "--sizes",
    default="",
    metavar="N,N",
    help="Measure collections of so many texts, made of this one's.  [default: this one as it is]",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the server; 0: one per core.",
)
@click.option(
    "--transport",
    type=click.Choice(["grpcio", "native"]),
    default="grpcio",
    show_default=True,
    help="Of the server.",
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw queries a second over clients into this SVG file.",
)
@device_option
@json_option
@pass_session
def search_command(
    session: Session,
    collection: str,
    seconds: float,
    rounds: int,
    no_filtered: bool,
    clients: str,
    sizes: str,
    workers: int,
    transport: str,
    plot_file: Path | None,
    as_json: bool,
) -> None:
    """Serve COLLECTION's live index and load it: text against vector queries, latency, filters, recall."""
    from evaluation.bench.search import SearchBenchOptions, bench_search
    from evaluation.bench.search_tables import plot

    options = SearchBenchOptions(
        seconds=seconds,
        rounds=rounds,
        filtered=not no_filtered,
        clients=_numbers("--clients", clients),
        sizes=_numbers("--sizes", sizes),
        workers=workers,
        transport=transport,
    )
    with StepDisplay() as on_step:
        result = bench_search(session.root, collection, options, on_step)
    if plot_file is not None:
        plot_file.write_text(plot(result), encoding="utf-8")
    _show(result, as_json)


def _numbers(option: str, given: str) -> tuple[int, ...]:
    """Read numbers above 0, divided by commas."""
    try:
        numbers = tuple(int(part) for part in given.split(",") if part.strip())
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise click.UsageError(f"{option}: expected numbers such as 10000,100000, got {given!r}")
    return numbers


@bench_group.command(
    "start", epilog=examples("twinspire --workspace demo-workspace bench start demo --workers 1,2")
)
@click.argument("collection", default="demo")
@click.option("--workers", default="1,2", show_default=True, metavar="N,N", help="Processes, each in turn.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Starts of each.")
@json_option
@pass_session
def start_command(session: Session, collection: str, workers: str, rounds: int, as_json: bool) -> None:
    """Start servers of COLLECTION: how soon they answer, and what they hold in memory."""
    from evaluation.bench.start import bench_start

    with StepDisplay() as on_step:
        result = bench_start(
            session.root, collection, workers=_numbers("--workers", workers), rounds=rounds, on_step=on_step
        )
    _show(result, as_json)


@bench_group.command("index", epilog=examples("twinspire --workspace demo-workspace bench index demo"))
@click.argument("collection", default="demo")
@click.option(
    "--encoder", default="", metavar="NAME[@VERSION]", help="With this.  [default: the newest index's]"
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Of paired measurements."
)
@click.option(
    "--sizes", default="10000,100000", show_default=True, help="Items to show growth over; empty for none."
)
@json_option
@pass_session
def index_command(
    session: Session, collection: str, encoder: str, rounds: int, sizes: str, as_json: bool
) -> None:
    """Import and index COLLECTION's items again, elsewhere: rows a second, our own share, growth."""
    from evaluation.bench.index import IndexBenchOptions, bench_index

    options = IndexBenchOptions(encoder=encoder, rounds=rounds, sizes=_numbers("--sizes", sizes))
    with StepDisplay() as on_step:
        result = bench_index(session.root, collection, options, on_step)
    _show(result, as_json)


@bench_group.command("texts", epilog=examples("twinspire --workspace demo-workspace bench texts demo"))
@click.argument("collection", default="demo")
@click.option("--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Of each spell.")
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Of paired measurements."
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Of the server.")
@json_option
@pass_session
def texts_command(
    session: Session, collection: str, seconds: float, rounds: int, workers: int, as_json: bool
) -> None:
    """Load a server that has a heavy text encoder, beside the bare encoder; vectors must not wait for it."""
    from evaluation.bench.heavy import HeavyBenchOptions, bench_heavy

    options = HeavyBenchOptions(seconds=seconds, rounds=rounds, workers=workers)
    with StepDisplay() as on_step:
        result = bench_heavy(session.root, collection, options, on_step)
    _show(result, as_json)


@bench_group.command("encode", epilog=examples("twinspire bench encode pictures --encoder mobilenet"))
@click.argument("collection")
@click.option("--encoder", required=True, metavar="NAME[@VERSION]", help="Encode with this.")
@click.option(
    "--count", type=click.IntRange(1), default=500, show_default=True, help="Items, held decoded in memory."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Of paired measurements."
)
@device_option
@json_option
@pass_session
def encode_command(
    session: Session, collection: str, encoder: str, count: int, rounds: int, as_json: bool
) -> None:
    """Encode items of COLLECTION by `index`, elsewhere, and by the bare model: items a second, x realtime."""
    from evaluation.bench.encode import EncodeBenchOptions, bench_encode

    options = EncodeBenchOptions(encoder=encoder, count=count, rounds=rounds)
    with StepDisplay() as on_step:
        result = bench_encode(session.root, collection, options, on_step)
    _show(result, as_json)


@bench_group.command("train", epilog=examples("twinspire --workspace demo-workspace bench train demo"))
@click.argument("collection", default="demo")
@json_option
@pass_session
def train_command(session: Session, collection: str, as_json: bool) -> None:
    """Train two-towers on COLLECTION, elsewhere, and evaluate each: seconds, memory, relevance."""
    from evaluation.bench.train import bench_train

    with StepDisplay() as on_step:
        result = bench_train(session.root, collection, on_step=on_step)
    _show(result, as_json)


@bench_group.command("redis", epilog=examples("twinspire bench redis --count 20000"))
@click.option("--count", type=click.IntRange(1000), default=200_000, show_default=True, help="Vectors.")
@click.option("--dims", type=click.IntRange(2), default=256, show_default=True, help="Their width.")
@click.option(
    "--storage",
    "storages",
    type=click.Choice(["f32", "sq8", "bin"]),
    multiple=True,
    default=["f32"],
    show_default=True,
    help="In Redis; may be given several times. The first one is served too.",
)
@click.option("--vectors", type=_FILE, help="A .npy file of unit rows.  [default: random clusters]")
@click.option("--queries", type=_FILE, help="A .npy file of unit rows to search for; goes with --vectors.")
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each spell.")
@json_option
def redis_command(
    count: int,
    dims: int,
    storages: tuple[str, ...],
    vectors: Path | None,
    queries: Path | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Build the same vectors into Redis and FAISS: rates, memory, recall, filters, and the server's own cost.

    Takes the Redis of --redis-url, or starts one for the time being.
    """
    from evaluation.bench.redis import RedisBenchOptions, bench_redis

    if (vectors is None) != (queries is None):
        raise click.UsageError("--vectors and --queries go together: give both, or neither")
    options = RedisBenchOptions(
        count=count, dims=dims, storages=storages, vectors=vectors, query_vectors=queries, seconds=seconds
    )
    with StepDisplay() as on_step:
        result = bench_redis(options, on_step)
    _show(result, as_json)


@bench_group.command(
    "peers",
    epilog=examples(
        "twinspire --workspace demo-workspace bench peers demo --size 20000",
        "twinspire --workspace demo-workspace bench peers demo --only twinspire --only redis",
    ),
)
@click.argument("collection", default="demo")
@click.option(
    "--size", type=click.IntRange(1000), default=20_000, show_default=True, help="Vectors, at most."
)
@click.option("--seconds", type=click.FloatRange(0.1), default=3.0, show_default=True, help="Of each spell.")
@click.option(
    "--recall",
    type=click.FloatRange(0.1, 1.0),
    default=0.95,
    show_default=True,
    help="That all are tuned to.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Only this engine; may be given again.")
@json_option
@pass_session
def peers_command(
    session: Session,
    collection: str,
    size: int,
    seconds: float,
    recall: float,
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Give vectors of COLLECTION's live index to other engines, and measure them beside this one.

    Each engine is installed, pinned, into an environment of its own in the cache, the first time.
    """
    from evaluation.bench.peers.comparison import PeersBenchOptions, bench_peers

    options = PeersBenchOptions(size=size, seconds=seconds, recall_target=recall, only=only)
    with StepDisplay() as on_step:
        result = bench_peers(session.root, collection, options, on_step)
    _show(result, as_json)


def _show(result: "BenchResult", as_json: bool) -> None:
    from twinspire.console import table

    if as_json:
        print_json(result.to_json())
        return
    console = out()
    console.print(f"[dim]{result.machine}[/]", soft_wrap=True)
    for each in result.tables:
        console.print(table(each.title, each.columns, each.rows, right=each.columns[1:]))
        console.print()
