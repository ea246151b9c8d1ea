"""Errors that only a server can meet: those of the wire and of its life."""

from retrieval.errors import Exhausted, FailedPrecondition, InvalidInput, Unavailable


class MalformedRequest(InvalidInput):
    """The bytes are not the message that the method takes."""

    reason = "MALFORMED_REQUEST"

    def __init__(self, expected: str) -> None:
        super().__init__(f"expected the bytes of a {expected}, got something else")


class AmbiguousRequest(InvalidInput):
    """Two members of a oneof were sent, of which protobuf would silently keep the last."""

    reason = "AMBIGUOUS_REQUEST"

    def __init__(self, oneof: str, members: list[str]) -> None:
        super().__init__(f"{oneof}: expected one of its fields, got {' and '.join(members)}", field=oneof)


class RequestTooLarge(Exhausted):
    """A request has more bytes than the server takes."""

    reason = "REQUEST_TOO_LARGE"

    def __init__(self, got: int, maximum: int) -> None:
        super().__init__(f"the request has {got} bytes, at most {maximum} are taken", maximum=maximum)


class ShuttingDown(Unavailable):
    """The server is stopping."""

    reason = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("the server is shutting down: retry on another one")


class InvalidKeysFile(FailedPrecondition):
    """The keys file cannot be read, is not one, or is open to others."""

    reason = "INVALID_KEYS_FILE"


class InvalidCertificates(FailedPrecondition):
    """The certificate, its key or the clients' authority cannot be read, or do not belong together."""

    reason = "INVALID_CERTIFICATES"
