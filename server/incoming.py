"""Requests as they come, in bytes: who sends them, how large they are, what they say and what they cost."""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from server.access import Guard
from server.errors import MalformedRequest, RequestTooLarge
from server.memory import MemoryReturn
from server.wire import refuse_two_kinds

RequestT = TypeVar("RequestT", bound=Message)


class Incoming(Generic[RequestT]):
    """A request as it came, which is parsed only if its bytes do not tell enough."""

    __slots__ = ("_charge", "_parse", "data")

    def __init__(
        self, data: bytes, parse: Callable[[bytes], RequestT], charge: Callable[[int], None] | None
    ) -> None:
        self.data = data
        self._parse = parse
        self._charge = charge

    def parse(self) -> RequestT:
        """Parse it, and charge for what is in it.

        Raises:
            MalformedRequest, AmbiguousRequest: if it is no such message.
            RateLimited: if it costs more than its key has left.
        """
        return self._parse(self.data)

    def charge(self, cost: int) -> None:
        """Charge for a request that is not going to be parsed.

        Raises:
            RateLimited: if it costs more than its key has left.
        """
        if self._charge is not None:
            self._charge(cost)


class Intake:
    """Takes requests in."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes  # of a request
        self.memory = MemoryReturn()

    def take(
        self, request: type[RequestT], data: bytes, context: Any, guard: Guard | None
    ) -> Incoming[RequestT]:
        """Take a request of somebody who may make it, unparsed.

        In a stream each is looked at, for the key of the next one may be revoked since.

        Raises:
            Unauthenticated, PermissionDenied, RateLimited: if the guard refuses it.
            RequestTooLarge: if it is.
        """
        if guard is None:
            self._check_size(data)
            return Incoming(data, partial(_parse, request), None)
        principal = guard.admit(context)
        guard.charge(principal)
        self._check_size(data)

        def parse(data: bytes) -> RequestT:
            message = _parse(request, data)
            guard.charge_for(principal, message)
            return message

        return Incoming(data, parse, partial(guard.charge_count, principal))

    def _check_size(self, data: bytes) -> None:
        self.memory.took(len(data))
        if len(data) > self.max_bytes:
            raise RequestTooLarge(len(data), self.max_bytes)


def _parse(request: type[RequestT], data: bytes) -> RequestT:
    try:
        message = request.FromString(data)
    except DecodeError:
        raise MalformedRequest(request.DESCRIPTOR.name) from None
    refuse_two_kinds(message, data)
    return message
