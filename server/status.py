"""The one table from our error tree to gRPC status codes, with details in google.rpc's types."""

from google.protobuf import duration_pb2, message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from retrieval import errors

DOMAIN = "twinspire"
DETAILS_KEY = "grpc-status-details-bin"
# Statuses travel as HTTP/2 headers, which clients take up to 8 KiB of; a longer one becomes another error.
MAX_TEXT = 400
MAX_METADATA = 8

CODES: dict[type[errors.TwinspireError], StatusCode] = {
    errors.InvalidInput: StatusCode.INVALID_ARGUMENT,
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.FailedPrecondition: StatusCode.FAILED_PRECONDITION,
    errors.Conflict: StatusCode.ABORTED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.Exhausted: StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    errors.DataLoss: StatusCode.DATA_LOSS,
    errors.PermissionDenied: StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: StatusCode.UNAUTHENTICATED,
    errors.Unimplemented: StatusCode.UNIMPLEMENTED,
    errors.InternalError: StatusCode.INTERNAL,
}


def code_of(error: errors.TwinspireError) -> StatusCode:
    """Look up the status code of an error: that of the nearest class in the table.

    >>> code_of(errors.EmptyQuery("nothing asked")).name
    'INVALID_ARGUMENT'
    """
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return StatusCode.INTERNAL


def status_of(error: errors.TwinspireError) -> status_pb2.Status:
    """Say an error in google.rpc's types: ErrorInfo always, and what else its category calls for."""
    text = clip(str(error))
    status = status_pb2.Status(code=code_of(error).value[0], message=text)
    metadata = {key: clip(value) for key, value in list(error.metadata.items())[:MAX_METADATA]}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    for detail in (info, *_details(error, text)):
        status.details.add().Pack(detail)
    return status


def _details(error: errors.TwinspireError, text: str) -> list[message.Message]:
    details: list[message.Message] = []
    if isinstance(error, errors.InvalidInput) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=clip(error.field), description=text, reason=error.reason
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.FailedPrecondition):
        state = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason, subject=DOMAIN, description=text
        )
        details.append(error_details_pb2.PreconditionFailure(violations=[state]))
    if isinstance(error, errors.Exhausted):
        subject = error.metadata.get("subject", error.reason)  # what the limit is one of, such as a key
        quota = error_details_pb2.QuotaFailure.Violation(subject=clip(subject), description=text)
        details.append(error_details_pb2.QuotaFailure(violations=[quota]))
        if error.retry_after_s is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(round(error.retry_after_s * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def clip(text: str) -> str:
    """Cut a text that would not fit into a header.

    >>> clip("x" * 1000)[-6:]
    'xxx...'
    """
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= MAX_TEXT else clean[:MAX_TEXT] + "..."
