"""What may differ between two running servers."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import FailedPrecondition, InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """A server's settings: read once at the edge, checked here."""

    workspace: Path
    host: str = "127.0.0.1"
    port: int = 50051  # 0 lets the system choose
    transport: str = "grpcio"  # or "native", by the extra of that name: less CPU, loopback only
    metrics_port: int | None = None  # 0 lets the system choose, None switches metrics off
    metrics_host: str = "127.0.0.1"  # metrics hold counts only; beyond loopback they are for everybody
    traces: bool = False  # by OpenTelemetry, whose variables tell where they go
    insecure: bool = False  # serve in clear, or without keys, beyond loopback
    keys_file: Path | None = None  # who may call; None lets everybody
    rate_limit: float = 0.0  # requests a second of each key that has no rate of its own; 0 = no limit
    tls_cert: Path | None = None  # PEM; None serves in clear
    tls_key: Path | None = None
    tls_client_ca: Path | None = None  # clients must have a certificate of these authorities
    secrets_interval_s: float = 0.5  # how soon another key or certificate is noticed
    reflection: bool = True
    shutdown_grace_s: float = 10.0  # time running calls get to finish
    shutdown_quiet_s: float = 0.1  # time without a call after which a stopping server closes its port
    watch_interval_s: float = 0.25  # how soon a version that another process promoted is noticed
    max_concurrent_calls: int = 8192  # being answered; and as many streams open
    handshake_timeout_s: float = 10.0  # time a connection gets to say that it speaks HTTP/2
    max_queued_searches: int = 4096  # per collection, waiting or being answered
    max_queued_tasks: int = 256  # writes, reads and encodings, each, waiting or running
    max_batch: int = 256  # searches that are alike and answered together; of others a fourth as many
    allow_partial: bool = False  # searches that do not say leave out parts of the index that do not answer
    search_threads: int = 0  # that a large batch is spread over; 0 = one per core, or one if it has workers
    workers: int = 1  # processes that share the port, each with limits of its own
    share_port: bool = False  # this is such a worker
    max_request_bytes: int = 16 << 20
    max_catch_up_segments: int = 20_000  # unencoded segments that the server encodes by itself

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidInput(f"port: expected 0 to 65535, got {self.port}", field="port")
        for name in (
            "workers",
            "max_concurrent_calls",
            "max_queued_searches",
            "max_queued_tasks",
            "max_batch",
            "max_request_bytes",
        ):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name}: expected at least 1, got {getattr(self, name)}", field=name)
        self._check_security()

        self._check_transport()

    def _check_transport(self) -> None:
        if self.transport not in ("grpcio", "native"):
            raise InvalidInput(
                f"transport: expected grpcio or native, got {self.transport!r}", field="transport"
            )
        if self.transport == "native" and (self.tls_cert is not None or not is_loopback(self.host)):
            raise InvalidInput(
                "transport: native knows no TLS and bears silent connections, so it listens on loopback only:"
                " let a proxy on this machine stand before it, or take grpcio",
                field="transport",
            )

    def _check_security(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidInput("tls_cert and tls_key: expected both or neither", field="tls_cert")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise InvalidInput("tls_client_ca: expected tls_cert and tls_key with it", field="tls_client_ca")
        if not 0 <= self.rate_limit < float("inf"):
            raise InvalidInput(
                f"rate_limit: expected requests a second, got {self.rate_limit}", field="rate_limit"
            )
        if self.rate_limit and self.keys_file is None:
            raise InvalidInput("rate_limit: is counted per key, expected a keys file", field="rate_limit")
        if self.insecure or is_loopback(self.host):
            return
        missing = []
        if self.tls_cert is None:
            missing.append("in clear (--tls-cert, --tls-key)")
        if self.keys_file is None and self.tls_client_ca is None:
            missing.append("without asking who calls (--keys or --tls-client-ca)")
        if missing:
            raise InsecureAddress(self.host, missing)


class InsecureAddress(FailedPrecondition):
    """The server was to listen beyond this machine, in clear or open to everybody."""

    reason = "INSECURE_ADDRESS"

    def __init__(self, host: str, missing: list[str]) -> None:
        super().__init__(
            f"{host} can be reached from other machines, {' and '.join(missing)}: give these, "
            "listen on 127.0.0.1 behind a proxy, or accept the risk with --insecure"
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
