"""`twinspire index`: encode what is new, build, measure, publish, promote."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from twinspire.console import examples, json_option, pass_session, print_json
from twinspire.device_option import device_option
from twinspire.progress import ProgressDisplay
from twinspire.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indexer.indexing import IndexReport
    from indexer.runners import Runner

OVERRIDES = ("kind", "storage", "m", "ef_construction", "nlist", "effort", "partitions")


def seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Read a length of time such as 5s or 2.5."""
    try:
        return None if value is None else float(value.removesuffix("s"))
    except ValueError:
        raise click.BadParameter(f"expected seconds such as 5s, got {value!r}") from None


@click.command(
    "index",
    epilog=examples(
        "twinspire index demo --encoder tower",
        "twinspire index music --encoder mert --windows 5s",
        "twinspire index music --encoder mert --runner ray",
    ),
)
@click.argument("collection")
@click.option("--encoder", required=True, metavar="NAME[@VERSION]", help="The model; its newest version.")
@click.option(
    "--backend",
    type=click.Choice(["faiss", "exact", "redis"]),
    default="faiss",
    show_default=True,
    help="The index; redis needs an address, see --redis-url.",
)
@click.option(
    "--windows",
    metavar="SECONDS",
    callback=seconds,
    help="Find long sounds and videos by windows of this length too, such as 5s; 0 takes them away."
    "  [default: as before]",
)
@click.option("--no-promote", is_flag=True, help="Publish the version, but do not make it live.")
@click.option(
    "--recall-target",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Recall@10 of exact search to tune to, on held-out queries.",
)
@click.option("--kind", type=click.Choice(["flat", "hnsw", "ivf"]), help="The type.  [default: by size]")
@click.option("--storage", type=click.Choice(["f32", "f16", "sq8", "bin"]), help="How vectors are stored.")
@click.option("--m", type=int, help="HNSW: links per vector.")
@click.option("--ef-construction", type=int, help="HNSW: how hard the build looks.")
@click.option("--nlist", type=int, help="IVF: number of lists.")
@click.option("--partitions", type=int, help="Redis: parts, for the nodes of a cluster; fixed at first.")
@click.option("--effort", type=int, help="How hard a search looks.  [default: measured]")
@click.option(
    "--runner",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the encoder runs: in this process, or in Ray's workers.",
)
@click.option("--workers", type=click.IntRange(0), default=0, help="Ray: processes.  [default: one per CPU]")
@click.option(
    "--ray-address",
    default="",
    help="Ray: of a cluster, as RAY_ADDRESS says too.  [default: one of this machine alone]",
)
@device_option
@json_option
@pass_session
def index_command(
    session: Session,
    /,
    collection: str,
    encoder: str,
    backend: str,
    no_promote: bool,
    recall_target: float,
    windows: float | None,
    runner: str,
    workers: int,
    ray_address: str,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Encode what is new in COLLECTION, build an index, measure it, publish it and make it live."""
    from indexer.indexing import index_collection

    session.on_interrupt = "What was encoded is kept: run the same command again, and it goes on from there."
    overrides = {name: parameters[name] for name in OVERRIDES if parameters[name] is not None}
    with ProgressDisplay() as progress:
        report = index_collection(
            session.workspace(),
            collection,
            encoder,
            backend=backend,
            overrides=overrides,
            recall_target=recall_target,
            windows_s=windows,
            promote=not no_promote,
            make_runner=runner_maker(runner, workers, ray_address),
            on_progress=progress,
        )
    show_index(report, as_json=as_json)


def runner_maker(runner: str, workers: int, address: str) -> "Callable[[Path], Runner]":
    """Return what makes the runner for an encoder's folder."""
    if runner == "local":
        from indexer.encoding import HERE

        return lambda folder: HERE
    from indexer.ray_runner import RayRunner

    return partial(RayRunner, workers=workers, address=address)


def show_index(report: "IndexReport", *, as_json: bool) -> None:
    """Print what an indexing did."""
    if as_json:
        print_json(asdict(report))
    else:
        click.echo(in_words(report))


def in_words(report: "IndexReport") -> str:
    """Say what an indexing did."""
    parameters = report.parameters
    lines = [
        f"{report.version}: {report.count:,} vectors by {report.model}"
        f", {parameters.kind} {parameters.storage}"
        + (f", recall@10 {parameters.recall:.3f}" if parameters.recall >= 0 else "")
        + (", live" if report.promoted else ", published, not live")
    ]
    if report.nothing_new:
        lines.append("nothing is new: this version was there already")
    else:
        lines.append(f"{report.encoded:,} segments encoded")
    if report.fusion.get("alpha") is not None:
        lines.append(f"hybrid weight of the vectors: {report.fusion['alpha']:.2f}, the rest is BM25's")
    if report.not_served:
        lines.append(f"{report.not_served:,} items are of a kind that the encoder does not take")
    if report.set_aside:
        lines.append(
            f"{report.set_aside:,} could not be read and were set aside: see `twinspire dead-letters`"
        )
    return "; ".join(lines)
