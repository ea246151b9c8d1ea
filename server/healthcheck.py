"""Asks a running server whether it answers searches: `python -m server.healthcheck [HOST:PORT]`.

Exits 0 if it does, else 1 with the reason on stderr. For containers and service managers.
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.health import SEARCH_SERVICE

DEFAULT_ADDRESS = "127.0.0.1:50051"


def check(address: str, *, timeout_s: float = 3.0) -> str:
    """Return the health of the search service: "SERVING", "NOT_SERVING", or why nobody answered."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=SEARCH_SERVICE), timeout=timeout_s
            )
        except grpc.RpcError as error:
            return f"no answer from {address}: {error.code().name}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main() -> None:
    """Check the address given, or the default one."""
    state = check(sys.argv[1] if len(sys.argv) > 1 else DEFAULT_ADDRESS)
    if state != "SERVING":
        sys.exit(state)


if __name__ == "__main__":
    main()
