"""`twinspire doctor`: what is wrong here, and what mends it."""

import click

from twinspire.connection_options import Access, connection_options, server_address
from twinspire.console import examples, json_option, pass_session, print_json
from twinspire.session import Session

MARKS = {"ok": ("ok", "green"), "warning": ("look", "yellow"), "failed": ("FAILED", "red")}


@click.command("doctor", epilog=examples("twinspire doctor", "twinspire --workspace films doctor --json"))
@click.option(
    "--server",
    "target",
    metavar="HOST:PORT",
    callback=server_address,
    default="127.0.0.1:50051",
    show_default=True,
    help="Where the server is, or is to be.",
)
@connection_options
@json_option
@pass_session
def doctor_command(session: Session, target: str, access: Access, as_json: bool) -> int:
    """Check everything that can be wrong here, and say how to mend it; exits 1 if something failed.

    Looks at Python, the packages, FAISS, the disk, the workspace and its schema, each model's and each
    index's files, whether the live version loads with its own encoder, items not indexed yet, and who
    listens on the server's port. Nothing is changed.
    """
    from twinspire.doctor import examine

    checks = []
    for check in examine(session.root, target, access.client):
        checks.append(check)
        if not as_json:
            word, colour = MARKS[check.state]
            click.echo(f"{click.style(f'{word:>6}', fg=colour)}  {check.name}: {check.found}")
            if check.state != "ok" and check.remedy:
                click.echo(f"        {check.remedy}")
    failed = sum(check.state == "failed" for check in checks)
    if as_json:
        print_json({"failed": failed, "checks": [check.to_json() for check in checks]})
    else:
        warnings = sum(check.state == "warning" for check in checks)
        click.echo(f"\n{len(checks)} checks, {failed} failed, {warnings} to look at")
    return 1 if failed else 0
