"""gRPC statuses back into the typed errors that the server raised."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from retrieval import errors
from retrieval.errors import DeadlineExceeded, Exhausted, InvalidInput, TwinspireError

STATUS_DETAILS_KEY = "grpc-status-details-bin"

# For statuses that come without a reason of ours, or with one that a later server invented.
CATEGORIES: Mapping[int, type[TwinspireError]] = {
    grpc.StatusCode.INVALID_ARGUMENT.value[0]: errors.InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE.value[0]: errors.InvalidInput,
    grpc.StatusCode.NOT_FOUND.value[0]: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION.value[0]: errors.FailedPrecondition,
    grpc.StatusCode.ABORTED.value[0]: errors.Conflict,
    grpc.StatusCode.ALREADY_EXISTS.value[0]: errors.Conflict,
    grpc.StatusCode.UNAVAILABLE.value[0]: errors.Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]: errors.Exhausted,
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0]: errors.DeadlineExceeded,
    grpc.StatusCode.DATA_LOSS.value[0]: errors.DataLoss,
    grpc.StatusCode.PERMISSION_DENIED.value[0]: errors.PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED.value[0]: errors.Unauthenticated,
    grpc.StatusCode.UNIMPLEMENTED.value[0]: errors.Unimplemented,
}


class FailedCall(Protocol):
    """What sync and async gRPC errors share."""

    def code(self) -> grpc.StatusCode:
        """The status code."""
        ...

    def details(self) -> str | None:
        """The status message."""
        ...

    def trailing_metadata(self) -> Iterable[Any] | None:
        """The metadata that ended the call."""
        ...


def error_classes() -> dict[str, type[TwinspireError]]:
    """Find the error class of each reason, by walking the engine's tree."""
    found: dict[str, type[TwinspireError]] = {}
    waiting = TwinspireError.__subclasses__()
    while waiting:
        cls = waiting.pop()
        if cls.__module__ == errors.__name__:
            found[cls.reason] = cls
        waiting.extend(cls.__subclasses__())
    return found


_CLASSES = error_classes()


def error_from_status(status: Status) -> TwinspireError:
    """Rebuild the error that a status tells of."""
    info, field, retry_after_s = ErrorInfo(), "", None
    for detail in status.details:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(BadRequest.DESCRIPTOR):
            bad_request = BadRequest()
            detail.Unpack(bad_request)
            field = bad_request.field_violations[0].field if bad_request.field_violations else ""
        elif detail.Is(RetryInfo.DESCRIPTOR):
            retry = RetryInfo()
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    category = CATEGORIES.get(status.code, errors.InternalError)
    cls = _CLASSES.get(info.reason, category)
    # The leaves' constructors take what the server knew; here there is only what it told.
    error = cls.__new__(cls, status.message)
    TwinspireError.__init__(error, status.message)
    error.metadata = dict(info.metadata)
    if info.reason and info.reason != cls.reason:
        vars(error)["reason"] = info.reason
    if isinstance(error, InvalidInput):
        error.field = field
    if isinstance(error, Exhausted):
        error.retry_after_s = retry_after_s
    return error


def checked_timeout(timeout_s: float) -> float:
    """Refuse a deadline that has passed already: gRPC might still let such a call through.

    Raises:
        DeadlineExceeded: if it has.
    """
    if timeout_s <= 0:
        raise DeadlineExceeded(f"no time is left for the call ({timeout_s} s): allow more with timeout_s")
    return timeout_s


def error_from_call(call: FailedCall, target: str) -> TwinspireError:
    """Rebuild the error that a failed call ended in.

    Args:
        call: the gRPC error.
        target: the server's address, for the message when nobody answered there.
    """
    for key, value in call.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            return error_from_status(Status.FromString(value))
    code, details = call.code(), call.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        details = f"the server at {target} does not answer {_cause_and_remedy(details)}"
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        details = f"the server at {target} did not answer in time: retry, or allow more with timeout_s"
    error = error_from_status(Status(code=code.value[0], message=details))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
        vars(error)["reason"] = "REQUEST_TOO_LARGE"  # over twice the limit only the library tells
    return error


_TOO_LARGE = "message larger than max"


def _cause_and_remedy(details: str) -> str:
    """Keep what a person can use of gRPC's connection errors, in brackets, and say what to do."""
    if "errors resolving" in details:
        return "(there is no such host): check the address"
    if "handshake" in details.lower():
        return f"(TLS failed: {_tls_cause(details)})"
    if "Socket closed" in details:
        return "(it closed the connection): does it speak TLS, or stop?"
    refused = "Connection refused" in details
    cause = "connection refused" if refused else details.partition("\n")[0][:120] or "no reason given"
    return f"({cause}): start it with `twinspire serve`"


def _tls_cause(details: str) -> str:
    """Say what is wrong between the two ends, as far as OpenSSL's words tell."""
    for word, cause in _TLS_CAUSES.items():
        if word in details:
            return cause
    return "is it a TLS server, and is this client what it expects"


_TLS_CAUSES: Mapping[str, str] = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not vouched for by the authorities given, or expired",
    "WRONG_VERSION_NUMBER": "it speaks no TLS",
    "CERTIFICATE_REQUIRED": "it asks for a certificate of ours",
    "Peer name": "its certificate is of another name",
    "Hostname": "its certificate is of another name",
}
