"""Asks a server whether it answers searches, for containers and probes: exit 0 if so, else 1 and why.

    python -m server.healthcheck 127.0.0.1:50051
    python -m server.healthcheck 127.0.0.1:50051 --tls-ca ca.pem --tls-cert probe.pem --tls-key probe.key

It needs no key: health is open to everybody who can connect.
"""

import argparse
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.health import SEARCH_SERVICE

DEFAULT_ADDRESS = "127.0.0.1:50051"


def check(address: str, *, timeout_s: float = 3.0, credentials: grpc.ChannelCredentials | None = None) -> str:
    """Return the health of the search service: "SERVING", "NOT_SERVING", or why nobody answered."""
    opened = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
    with opened as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=SEARCH_SERVICE), timeout=timeout_s
            )
        except grpc.RpcError as error:
            return f"no answer from {address}: {error.code().name}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main() -> None:
    """Check the address given, or the default one."""
    parser = argparse.ArgumentParser(prog="server.healthcheck", description="Is the server ready?")
    parser.add_argument("address", nargs="?", default=DEFAULT_ADDRESS)
    for name, what in (("ca", "authorities to trust"), ("cert", "our certificate"), ("key", "its key")):
        parser.add_argument(f"--tls-{name}", type=Path, help=f"PEM: {what}")
    given = parser.parse_args()
    credentials = None
    if given.tls_ca:
        ca, key, cert = (
            file.read_bytes() if file else None for file in (given.tls_ca, given.tls_key, given.tls_cert)
        )
        credentials = grpc.ssl_channel_credentials(ca, key, cert)
    state = check(given.address, credentials=credentials)
    if state != "SERVING":
        sys.exit(state)


if __name__ == "__main__":
    main()
