"""`twinspire roots`: the folders that media files lie in."""

from pathlib import Path

import click

from twinspire.console import examples, json_option, pass_session, print_json, show_table
from twinspire.groups import ListAlone
from twinspire.session import Session


@click.group(
    "roots", cls=ListAlone, epilog=examples("twinspire roots", "twinspire roots set photos /srv/photos")
)
def roots_group() -> None:
    """List the folders that media files lie in, or say where one lies now."""


@roots_group.command("list", epilog=examples("twinspire roots list"))
@json_option
@pass_session
def list_command(session: Session, as_json: bool) -> None:
    """List the roots: the uri media://NAME/PATH is the file PATH in the folder NAME."""
    from rich.markup import escape

    from retrieval.media_roots import media_roots

    roots = media_roots(session.workspace())
    if as_json:
        print_json({name: {"folder": str(path), "exists": path.is_dir()} for name, path in roots.items()})
        return
    show_table(
        "",
        ["root", "folder", ""],
        [
            [escape(name), escape(str(path)), "" if path.is_dir() else "missing: say where it is by `set`"]
            for name, path in roots.items()
        ],
        empty="no media yet: see `twinspire import folder --help`",
    )


@roots_group.command("set", epilog=examples("twinspire roots set photos /srv/photos"))
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@pass_session
def set_command(session: Session, name: str, folder: Path) -> None:
    """Let media://NAME/... mean the files in FOLDER, such as after a workspace moved to another machine."""
    from retrieval.media_roots import add_media_root

    add_media_root(session.workspace(), name, folder)
    click.echo(f"media://{name}/ is {folder.resolve()}")
