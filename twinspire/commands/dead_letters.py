"""`twinspire dead-letters`: what could not be read, and why."""

from dataclasses import asdict

import click

from twinspire.console import examples, json_option, pass_session, print_json, show_table
from twinspire.session import Session


@click.command(
    "dead-letters",
    epilog=examples("twinspire dead-letters pictures", "twinspire dead-letters pictures --retry"),
)
@click.argument("collection")
@click.option("--retry", is_flag=True, help="Forget them, so that the next import or index tries again.")
@json_option
@pass_session
def dead_letters_command(session: Session, collection: str, retry: bool, as_json: bool) -> None:
    """List the files that could not be imported, and the items that an encoder could not read."""
    from rich.markup import escape

    from retrieval.collections import require_collection
    from retrieval.dead_letters import clear_dead_letters, dead_letters

    workspace = session.workspace()
    require_collection(workspace, collection)
    letters = dead_letters(workspace, collection)
    if retry:
        clear_dead_letters(workspace, collection)
    if as_json:
        print_json([asdict(letter) for letter in letters])
        return
    show_table(
        "",
        ["file", "encoder", "reason", "what is wrong"],
        [
            [escape(letter.uri), (letter.encoder or "-")[:12], letter.reason, escape(letter.message)]
            for letter in letters
        ],
        empty=f"{collection}: everything could be read",
    )
    if retry and letters:
        click.echo(f"{len(letters):,} forgotten: the next import or index tries again")
