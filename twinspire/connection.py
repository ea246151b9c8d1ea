"""How a client connects: in clear or by TLS, and with which key."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio

from retrieval.errors import InvalidInput
from twinspire.secret_files import read_secret

API_KEY_VARIABLE = "TWINSPIRE_API_KEY"
API_KEY_FILE_VARIABLE = "TWINSPIRE_API_KEY_FILE"
TLS_CA_VARIABLE = "TWINSPIRE_TLS_CA"
OPTIONS = (
    ("grpc.max_receive_message_length", 256 << 20),  # a full batch with vectors
    # Back soon after a server's restart: gRPC's own pauses grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_KEY = re.compile(r"[!-~]{1,4096}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How to know the server, and to be known by it."""

    ca: Path | str | None = None  # PEM of the authorities that may vouch for the server; None: the system's
    cert: Path | str | None = None  # our certificate chain, PEM, for a server that asks for one
    key: Path | str | None = None  # its private key, PEM
    server_name: str = ""  # the name in the server's certificate, where it is not that of the target

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise InvalidInput("tls: expected both cert and key, or neither", field="tls")


@dataclass(frozen=True, slots=True)
class Connection:
    """A server's address and what it takes to be let in. The key is left out of its repr."""

    target: str
    tls: Tls | None
    metadata: tuple[tuple[str, str], ...] | None = field(repr=False)

    def open(self) -> grpc.Channel:
        """Make a channel, which connects when it is first used."""
        if self.tls is None:
            return grpc.insecure_channel(self.target, options=OPTIONS)
        return grpc.secure_channel(self.target, _credentials(self.tls), options=self._options(self.tls))

    def open_aio(self) -> grpc.aio.Channel:
        """Make a channel of the running event loop."""
        if self.tls is None:
            return grpc.aio.insecure_channel(self.target, options=OPTIONS)
        return grpc.aio.secure_channel(self.target, _credentials(self.tls), options=self._options(self.tls))

    def _options(self, tls: Tls) -> tuple[tuple[str, str | int], ...]:
        name = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
        return (*OPTIONS, *name)


def connection(
    target: str,
    api_key: str | None = None,
    tls: Tls | bool | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Connection:
    """Decide how to connect.

    Args:
        target: host:port.
        api_key: the key to send; None takes $TWINSPIRE_API_KEY or the file $TWINSPIRE_API_KEY_FILE, if
            set, and "" sends none.
        tls: True for the system's authorities, False for clear text, None as $TWINSPIRE_TLS_CA says.
        environment: where the variables are.

    Raises:
        InvalidInput: if the key is none, or would travel in clear to another machine.
    """
    if tls is None:
        ca = environment.get(TLS_CA_VARIABLE, "")
        chosen = Tls(ca=ca) if ca else None
    else:
        chosen = Tls() if tls is True else tls or None
    key = _key(api_key, environment)
    if key and chosen is None and tls is None and not _is_local(target):
        raise InvalidInput(
            f"the key would travel in clear to {target}: connect with tls=True or tls=Tls(ca=...); "
            "tls=False accepts the risk",
            field="tls",
        )
    return Connection(target, chosen, (("authorization", f"Bearer {key}"),) if key else None)


def _key(api_key: str | None, environment: Mapping[str, str]) -> str:
    key = environment.get(API_KEY_VARIABLE, "") if api_key is None else api_key
    if api_key is None and not key and environment.get(API_KEY_FILE_VARIABLE):
        key = read_secret(Path(environment[API_KEY_FILE_VARIABLE]))
    key = key.strip()
    if key and not _KEY.fullmatch(key):
        raise InvalidInput("api_key: expected printable ASCII without blanks", field="api_key")
    return key


def _is_local(target: str) -> bool:
    """Tell whether calls to a target stay on this machine.

    >>> [_is_local(target) for target in ("127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/a", "10.0.0.1:1")]
    [True, True, True, True, False]
    """
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = re.sub(r"^(ipv[46]:|dns:/*)", "", target).rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    ca, key, cert = (None if file is None else _content(Path(file)) for file in (tls.ca, tls.key, tls.cert))
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", field="tls") from None
