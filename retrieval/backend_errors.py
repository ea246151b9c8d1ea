"""Faults of the database that holds an index: no fault of the version, so it is worth looking again later."""

from retrieval.errors import FailedPrecondition, InternalError, TwinspireError


class BackendFault(TwinspireError):
    """An error that an administrator mends outside of Twinspire."""


class IndexLost(BackendFault, FailedPrecondition):
    """Redis no longer holds what the manifest says: it was flushed, evicted or restored from elsewhere."""

    reason = "INDEX_LOST"


class RedisUnusable(BackendFault, FailedPrecondition):
    """What answers is no Redis with vector sets, or its keys are of another kind."""

    reason = "REDIS_UNUSABLE"


class RedisAccessDenied(BackendFault, InternalError):
    """The password is wrong, or the user may not do this: for the administrator, not for the caller."""

    reason = "BACKEND_ACCESS_DENIED"
