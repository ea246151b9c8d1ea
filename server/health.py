"""The standard health service, grpc.health.v1: SERVING only when index and encoder are warm."""

import asyncio
from collections.abc import AsyncIterator

import grpc
from grpc_health.v1 import health_pb2

from retrieval.errors import NotFound
from server.calls import Calls, Context
from server.permissions import HEALTH

SERVICE = HEALTH
SEARCH_SERVICE = "twinspire.v1.SearchService"


class UnknownService(NotFound):
    """A health check of a service that is not here."""

    reason = "SERVICE_NOT_FOUND"


class Health:
    """Tells whether this server answers searches."""

    def __init__(self, services: list[str]) -> None:
        self._services = ["", *services]
        self._serving = False
        self._closed = False
        self._changed = asyncio.Condition()

    async def set_serving(self, serving: bool) -> None:
        """Say whether searches are answered."""
        async with self._changed:
            self._serving = serving and not self._closed
            self._changed.notify_all()

    async def close(self) -> None:
        """Say NOT_SERVING for good, and end all watching."""
        self._closed = True
        await self.set_serving(False)

    async def check(
        self, request: health_pb2.HealthCheckRequest, _context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Answer Check."""
        if request.service not in self._services:
            raise UnknownService(f"there is no service {request.service!r} here")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def list(
        self, _request: health_pb2.HealthListRequest, _context: Context
    ) -> health_pb2.HealthListResponse:
        """Answer List."""
        answer = health_pb2.HealthListResponse()
        for service in self._services:
            answer.statuses[service].status = self._status(service)
        return answer

    async def watch(
        self, request: health_pb2.HealthCheckRequest, _context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Answer Watch: the status now, and each time it changes."""
        told = None
        while True:
            status = self._status(request.service)
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            if self._closed:
                return
            async with self._changed:
                while not self._closed and self._status(request.service) == told:
                    await self._changed.wait()

    def _status(self, service: str) -> int:
        statuses = health_pb2.HealthCheckResponse
        if service not in self._services:
            return int(statuses.SERVICE_UNKNOWN)
        # The other services read and write the workspace, which needs no index.
        ready = self._serving if service in ("", SEARCH_SERVICE) else not self._closed
        return int(statuses.SERVING if ready else statuses.NOT_SERVING)


def handler(calls: Calls, health: Health) -> grpc.GenericRpcHandler:
    """Make the service's handler."""
    methods = {
        "Check": calls.unary("Health.Check", health_pb2.HealthCheckRequest, health.check),
        "List": calls.unary("Health.List", health_pb2.HealthListRequest, health.list),
        "Watch": calls.server_stream("Health.Watch", health_pb2.HealthCheckRequest, health.watch),
    }
    generic: grpc.GenericRpcHandler = grpc.method_handlers_generic_handler(SERVICE, methods)
    return generic
