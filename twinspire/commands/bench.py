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


@bench_group.command("search", epilog=examples("twinspire --workspace demo-workspace bench search demo"))
@click.argument("collection", default="demo")
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each spell.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Of paired measurements."
)
@click.option("--no-filtered", is_flag=True, help="Leave out filtered search.")
@device_option
@json_option
@pass_session
def search_command(
    session: Session, collection: str, seconds: float, rounds: int, no_filtered: bool, as_json: bool
) -> None:
    """Serve COLLECTION's live index and load it: text against vector queries, latency, filters, recall."""
    from evaluation.bench.search import SearchBenchOptions, bench_search

    options = SearchBenchOptions(seconds=seconds, rounds=rounds, filtered=not no_filtered)
    with StepDisplay() as on_step:
        result = bench_search(session.root, collection, options, on_step)
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

    try:
        growing = tuple(int(size) for size in sizes.split(",") if size.strip())
    except ValueError:
        raise click.UsageError(f"--sizes: expected numbers such as 10000,100000, got {sizes!r}") from None
    options = IndexBenchOptions(encoder=encoder, rounds=rounds, sizes=growing)
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
    "--storage", type=click.Choice(["f32", "sq8", "bin"]), default="f32", show_default=True, help="In Redis."
)
@click.option("--vectors", type=_FILE, help="A .npy file of unit rows.  [default: clusters by chance]")
@click.option("--queries", type=_FILE, help="A .npy file of unit rows to search for; goes with --vectors.")
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each spell.")
@json_option
def redis_command(
    count: int,
    dims: int,
    storage: str,
    vectors: Path | None,
    queries: Path | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Build the same vectors into Redis and FAISS: rates, memory, recall, filters, and the server's own cost.

    Takes the Redis of --redis-url, or starts one for the time being.
    """
    from evaluation.bench.redis import RedisBenchOptions, bench_redis

    options = RedisBenchOptions(
        count=count, dims=dims, storage=storage, vectors=vectors, query_vectors=queries, seconds=seconds
    )
    with StepDisplay() as on_step:
        result = bench_redis(options, on_step)
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
