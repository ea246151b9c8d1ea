"""What a caller is told when an answer fails: an error of ours, or only where to look up another one."""

import logging
import secrets

from retrieval.errors import InternalError, TwinspireError
from server.logs import log


def known(where: str, error: BaseException) -> TwinspireError:
    """Return an error of ours as it is; any other as `unexpected` does."""
    return error if isinstance(error, TwinspireError) else unexpected(where, error)


def unexpected(where: str, error: BaseException) -> InternalError:
    """Log an error that nobody foresaw, and return one that tells its reader only where to look it up."""
    error_id = _log_fault("unexpected error", where, error)
    return InternalError(f"internal error {error_id}: the server's log has more", error_id=error_id)


def last_word(method: str, error: BaseException) -> TwinspireError:
    """Return what a call ends with; what is our fault is in the log then."""
    told = known(method, error)
    if isinstance(error, InternalError) and "error_id" not in error.metadata:
        error.metadata["error_id"] = _log_fault("fault of ours", method, error)
    # The library keeps an aborted call's frame in a circle until the garbage collector comes, which it
    # seldom does: the frames of the error, and the request's bytes in them, must not hang on it.
    told.__context__ = told.__cause__ = None
    return told.with_traceback(None)


def _log_fault(message: str, where: str, error: BaseException) -> str:
    error_id = secrets.token_hex(8)
    log(message, level=logging.ERROR, error=error, where=where, error_id=error_id)
    return error_id
