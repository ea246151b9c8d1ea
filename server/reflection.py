"""Server reflection: tells generic clients which methods and messages there are."""

from collections.abc import AsyncIterator, Sequence

import grpc
from grpc_reflection.v1alpha import _async as library
from grpc_reflection.v1alpha import reflection_pb2 as pb

from server.access import Guard
from server.calls import Calls, Context
from server.permissions import REFLECTION


class Reflection:
    """Answers by the library's servicer, through the handlers that all our methods have."""

    def __init__(self, services: Sequence[str]) -> None:
        self._servicer = library.ReflectionServicer(services)

    async def tell(
        self, request: pb.ServerReflectionRequest, context: Context
    ) -> pb.ServerReflectionResponse:
        """Answer one request of ServerReflectionInfo."""

        async def alone() -> AsyncIterator[pb.ServerReflectionRequest]:
            yield request

        (answer,) = [answer async for answer in self._servicer.ServerReflectionInfo(alone(), context)]
        return answer


def handler(calls: Calls, services: Sequence[str], guard: Guard | None) -> grpc.GenericRpcHandler:
    """Make the service's handler."""
    tell = Reflection(services).tell
    methods = {
        "ServerReflectionInfo": calls.both_streams("Reflection", pb.ServerReflectionRequest, tell, guard)
    }
    generic: grpc.GenericRpcHandler = grpc.method_handlers_generic_handler(REFLECTION, methods)
    return generic
