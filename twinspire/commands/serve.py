"""`twinspire serve`: the gRPC server."""

from pathlib import Path
from typing import Any

import click

from twinspire.console import examples, pass_session
from twinspire.device_option import device_option
from twinspire.session import Session

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    "serve",
    epilog=examples(
        "twinspire serve --port 50051",
        "twinspire serve --host 0.0.0.0 --keys keys.json --tls-cert server.pem --tls-key server.key",
    ),
)
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
    help="Serve Prometheus metrics on this port.  [default: off]",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    help="The address of the metrics: counts only, open to whoever reaches it.",
)
@click.option("--no-metrics", is_flag=True, help="Serve no metrics, whatever --metrics-port says.")
@click.option("--no-reflection", is_flag=True, help="Do not tell generic clients what methods there are.")
@click.option(
    "--keys",
    "keys_file",
    type=_FILE,
    envvar="TWINSPIRE_KEYS",
    help="Ask callers for a key of this file.  [default: keys.json of the workspace, if there]",
)
@click.option(
    "--rate-limit",
    type=click.FloatRange(0),
    default=0.0,
    help="Requests a second of each key that has no rate of its own.  [default: no limit]",
)
@click.option("--tls-cert", type=_FILE, help="Serve TLS with this certificate chain, PEM.")
@click.option("--tls-key", type=_FILE, help="The certificate's private key, PEM.")
@click.option("--tls-client-ca", type=_FILE, help="Ask clients for a certificate of these authorities.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Processes that share the port and one mapped index; 0: one per core.",
)
@click.option(
    "--transport",
    type=click.Choice(["grpcio", "native"]),
    default="grpcio",
    show_default=True,
    help="What speaks gRPC; native (an extra) takes a third less CPU a call, on loopback only.",
)
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Where nodes of an index in Redis are away, answer without them, unless a search says otherwise.",
)
@click.option("--traces", is_flag=True, help="Send OpenTelemetry traces to OTEL_EXPORTER_OTLP_ENDPOINT.")
@click.option("--insecure", is_flag=True, help="Serve in clear, or without keys, beyond this machine.")
@device_option
@pass_session
def serve_command(
    session: Session,
    /,
    no_metrics: bool,
    no_reflection: bool,
    keys_file: Path | None,
    workers: int,
    **settings: Any,
) -> None:
    """Serve the workspace's collections over gRPC until told to stop (Ctrl-C or SIGTERM).

    Prints one line on stdout when it is ready; its log goes to stderr, as JSON. Keys and certificates that
    change are taken over within a second.
    """
    from server.app import serve
    from server.config import ServerConfig
    from server.keys import FILE_NAME
    from server.threads import usable_cores

    if no_metrics:
        settings["metrics_port"] = None
    if keys_file is None and (session.root / FILE_NAME).exists():
        keys_file = session.root / FILE_NAME
    config = ServerConfig(
        workspace=session.root,
        keys_file=keys_file,
        reflection=not no_reflection,
        workers=workers or usable_cores(),
        **settings,
    )
    serve(config, announce=click.echo)
