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
    metrics_port: int | None = None  # on loopback; 0 lets the system choose, None switches metrics off
    insecure: bool = False  # serve in clear beyond loopback
    reflection: bool = True
    shutdown_grace_s: float = 10.0  # time running calls get to finish
    shutdown_quiet_s: float = 0.1  # time without a call after which a stopping server closes its port
    watch_interval_s: float = 0.25  # how soon a version that another process promoted is noticed
    max_queued_searches: int = 4096  # per collection, waiting or being answered
    max_queued_tasks: int = 256  # writes, reads and encodings, each, waiting or running
    max_batch: int = 64  # queries answered together
    search_threads: int = 0  # that a large batch is spread over; 0 = one per core
    max_request_bytes: int = 16 << 20
    max_catch_up_segments: int = 20_000  # unencoded segments that the server encodes by itself

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidInput(f"port: expected 0 to 65535, got {self.port}", field="port")
        for name in ("max_queued_searches", "max_queued_tasks", "max_batch", "max_request_bytes"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name}: expected at least 1, got {getattr(self, name)}", field=name)
        if not self.insecure and not is_loopback(self.host):
            raise InsecureAddress(self.host)


class InsecureAddress(FailedPrecondition):
    """The server was to listen in clear beyond this machine."""

    reason = "INSECURE_ADDRESS"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} can be reached from other machines, in clear and without keys: "
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
