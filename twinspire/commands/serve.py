"""`twinspire serve`: the gRPC server."""

from typing import Any

import click

from twinspire.console import examples, pass_session
from twinspire.session import Session


@click.command("serve", epilog=examples("twinspire serve --port 50051"))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=50051,
    show_default=True,
    help="The port; 0 lets the system choose.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve Prometheus metrics on this port of 127.0.0.1.  [default: off]",
)
@click.option("--insecure", is_flag=True, help="Serve in clear, without keys, beyond this machine.")
@pass_session
def serve_command(session: Session, /, **settings: Any) -> None:
    """Serve the workspace's collections over gRPC until told to stop (Ctrl-C or SIGTERM).

    Prints one line on stdout when it is ready; its log goes to stderr, as JSON.
    """
    from server.app import serve
    from server.config import ServerConfig

    serve(ServerConfig(workspace=session.root, **settings), announce=click.echo)
