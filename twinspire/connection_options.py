"""The options of commands that talk to a server."""

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from twinspire.console import with_options

if TYPE_CHECKING:
    from twinspire.client import Client

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_FILE = click.Path(dir_okay=False, path_type=Path)
_HOST_AND_PORT = re.compile(r"(\[[^\]\s]+\]|[^\s:\[\]]+):(\d{1,5})")
_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|xds):")


def server_address(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """Refuse what is neither HOST:PORT nor has a scheme of gRPC's, which would put in a port of its own."""
    found = _HOST_AND_PORT.fullmatch(given or "")
    if given is None or _SCHEME.match(given) or (found and 1 <= int(found[2]) <= 65535):
        return given
    raise click.BadParameter(f"expected HOST:PORT such as 127.0.0.1:50051, got {given!r}")


class Access:
    """How a command connects to the servers that it is told of."""

    def __init__(
        self,
        key_file: Path | None = None,
        tls: bool = False,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self._key_file = key_file
        self._tls = tls
        self._ca = ca
        self._cert = cert
        self._key = key

    def client(self, target: str, **settings: Any) -> "Client":
        """Make a client of the server at host:port."""
        from twinspire.client import Client
        from twinspire.connection import Tls
        from twinspire.secret_files import read_secret

        api_key = read_secret(self._key_file) if self._key_file else None
        tls = None
        if self._tls or self._ca or self._cert:
            tls = Tls(ca=self._ca, cert=self._cert, key=self._key)
        return Client(target, api_key=api_key, tls=tls, **settings)


def connection_options(command: CommandT) -> CommandT:
    """Let a command take a key and certificates; it gets them as `access`."""

    @wraps(command)
    def called(
        *args: Any,
        api_key_file: Path | None,
        tls: bool,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        **others: Any,
    ) -> Any:
        return command(*args, access=Access(api_key_file, tls, tls_ca, tls_cert, tls_key), **others)

    add_options = with_options(
        click.option(
            "--api-key-file",
            type=_FILE,
            help="Send the key in this file.  [default: $TWINSPIRE_API_KEY, $TWINSPIRE_API_KEY_FILE]",
        ),
        click.option("--tls", is_flag=True, help="Connect by TLS, trusting the system's authorities."),
        click.option(
            "--tls-ca", type=_FILE, envvar="TWINSPIRE_TLS_CA", help="Connect by TLS, trusting these, PEM."
        ),
        click.option("--tls-cert", type=_FILE, help="Show the server this certificate, PEM."),
        click.option("--tls-key", type=_FILE, help="The certificate's private key, PEM."),
    )
    return add_options(called)  # type: ignore[return-value]
