"""Every error that Twinspire raises on purpose.

A class's *category* (its base) says what a caller can do about it and decides the gRPC status; its
`reason` names the exact fault and travels to clients. Messages say what was expected and what came,
and never hold a path outside the workspace or a traceback.
"""

from typing import ClassVar


class TwinspireError(Exception):
    """The root of the tree; raise one of its leaves."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, **metadata: str | int | float) -> None:
        super().__init__(message)
        self.metadata = {key: str(value) for key, value in metadata.items()}


# Categories


class InvalidInput(TwinspireError):
    """The request can never succeed as it is."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, message: str, *, field: str = "", **metadata: str | int | float) -> None:
        super().__init__(message, **metadata)
        self.field = field  # the offending request field, in proto spelling


class NotFound(TwinspireError):
    """A named thing does not exist."""

    reason = "NOT_FOUND"


class FailedPrecondition(TwinspireError):
    """The system's state forbids it: fix the state first."""

    reason = "FAILED_PRECONDITION"


class Conflict(TwinspireError):
    """Another writer was first: read again and retry at a higher level."""

    reason = "CONFLICT"


class Unavailable(TwinspireError):
    """A passing fault: retry this call."""

    reason = "UNAVAILABLE"


class Exhausted(TwinspireError):
    """A limit is reached: retry later or ask for less."""

    reason = "RESOURCE_EXHAUSTED"

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, **metadata: str | int | float
    ) -> None:
        super().__init__(message, **metadata)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(TwinspireError):
    """The caller's deadline passed before the work began."""

    reason = "DEADLINE_EXCEEDED"


class DataLoss(TwinspireError):
    """Stored data is not what was written."""

    reason = "DATA_LOSS"


class PermissionDenied(TwinspireError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class Unauthenticated(TwinspireError):
    """The caller did not prove who it is."""

    reason = "UNAUTHENTICATED"


class Unimplemented(TwinspireError):
    """This version of the software does not do this."""

    reason = "UNIMPLEMENTED"


class InternalError(TwinspireError):
    """A fault of ours."""

    reason = "INTERNAL"


# Invalid input


class DimensionMismatch(InvalidInput):
    """A vector's width differs from the index's."""

    reason = "DIMENSION_MISMATCH"

    def __init__(self, expected: int, got: int, *, field: str = "vector") -> None:
        super().__init__(
            f"{field}: expected {expected} dimensions, got {got}",
            field=field,
            expected=expected,
            got=got,
        )


class NonFiniteVector(InvalidInput):
    """A vector holds NaN or infinity."""

    reason = "NON_FINITE_VECTOR"

    def __init__(self, *, field: str = "vector") -> None:
        super().__init__(f"{field}: expected finite numbers, got NaN or infinity", field=field)


class ZeroVector(InvalidInput):
    """A vector of length zero has no direction, so no cosine."""

    reason = "ZERO_VECTOR"

    def __init__(self, *, field: str = "vector") -> None:
        super().__init__(f"{field}: expected a non-zero vector, got all zeros", field=field)


class InvalidFilter(InvalidInput):
    """A filter is malformed or too large."""

    reason = "INVALID_FILTER"

    def __init__(self, message: str) -> None:
        super().__init__(message, field="filter")


class FilterNotSupported(InvalidInput):
    """The backend cannot answer this filter, so it does not try."""

    reason = "FILTER_NOT_SUPPORTED"


class InvalidLimit(InvalidInput):
    """The number of hits asked for is out of range."""

    reason = "INVALID_LIMIT"

    def __init__(self, got: int, maximum: int) -> None:
        super().__init__(f"limit: expected 1 to {maximum}, got {got}", field="limit")


class EmptyQuery(InvalidInput):
    """A query without content."""

    reason = "EMPTY_QUERY"


class InvalidItem(InvalidInput):
    """An item cannot be stored as it is."""

    reason = "INVALID_ITEM"


class InvalidId(InvalidInput):
    """An id is empty or too long."""

    reason = "INVALID_ID"

    def __init__(self, got_bytes: int, maximum: int, *, field: str = "id") -> None:
        super().__init__(f"{field}: expected 1 to {maximum} bytes, got {got_bytes}", field=field)


class InvalidPageToken(InvalidInput):
    """A page token is forged, or belongs to another listing."""

    reason = "INVALID_PAGE_TOKEN"

    def __init__(self) -> None:
        super().__init__(
            "page_token: expected the next_page_token of the same listing; start again without it",
            field="page_token",
        )


class InvalidTrainingData(InvalidInput):
    """Training cannot start from this data."""

    reason = "INVALID_TRAINING_DATA"


class UnreadableSource(InvalidInput):
    """A file to import is not what it claims to be."""

    reason = "UNREADABLE_SOURCE"


class MediaUnreadable(InvalidInput):
    """A media file cannot be decoded."""

    reason = "MEDIA_UNREADABLE"


class MediaTooLarge(InvalidInput):
    """A media file exceeds a cap that is checked before decoding."""

    reason = "MEDIA_TOO_LARGE"


# Not found


class CollectionNotFound(NotFound):
    """No collection of this name."""

    reason = "COLLECTION_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no collection {name!r}", collection=name)


class ItemNotFound(NotFound):
    """No item of this id in the collection."""

    reason = "ITEM_NOT_FOUND"

    def __init__(self, collection: str, id: str) -> None:
        super().__init__(f"collection {collection!r} has no item {id!r}", collection=collection, id=id)


class VersionNotFound(NotFound):
    """No such index version."""

    reason = "VERSION_NOT_FOUND"


class ModelNotFound(NotFound):
    """No such model."""

    reason = "MODEL_NOT_FOUND"


# Failed preconditions


class EncoderIndexMismatch(FailedPrecondition):
    """The query's encoder did not make the index's vectors."""

    reason = "ENCODER_INDEX_MISMATCH"

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(
            f"the index was made by encoder {expected[:12]}, the query expects {got[:12]}",
            expected=expected,
            got=got,
        )


class ModalityNotServed(FailedPrecondition):
    """The live encoder does not take this kind of content."""

    reason = "MODALITY_NOT_SERVED"


class ModelNotLoaded(FailedPrecondition):
    """The collection has no live encoder."""

    reason = "MODEL_NOT_LOADED"


class IncompatibleModel(FailedPrecondition):
    """Weights do not fit the architecture that their card names."""

    reason = "INCOMPATIBLE_MODEL"


class PartialIndex(FailedPrecondition):
    """An index lacks vectors that were there when it was built."""

    reason = "PARTIAL_INDEX"

    def __init__(self, version: str, missing: int, expected: int) -> None:
        super().__init__(
            f"index version {version} lacks {missing} of {expected} vectors: build a new one",
            missing=missing,
            expected=expected,
        )


class NewerFormat(FailedPrecondition):
    """A file was written by a later version of Twinspire."""

    reason = "NEWER_FORMAT"


class UnusableWorkspace(FailedPrecondition):
    """The workspace is missing, not a database, or read-only."""

    reason = "UNUSABLE_WORKSPACE"


class MissingExtra(FailedPrecondition):
    """An optional dependency is not installed."""

    reason = "MISSING_EXTRA"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}: pip install 'twinspire[{extra}]'", extra=extra)


# The rest


class VersionMoved(Conflict):
    """The live version is no longer the one the caller saw."""

    reason = "VERSION_MOVED"


class BackendUnavailable(Unavailable):
    """The index or the database does not answer."""

    reason = "BACKEND_UNAVAILABLE"


class Overloaded(Exhausted):
    """The queue is full."""

    reason = "OVERLOADED"


class RateLimited(Exhausted):
    """A key has used up its rate."""

    reason = "RATE_LIMITED"


class StorageFull(Exhausted):
    """The disk is full."""

    reason = "STORAGE_FULL"


class CorruptArtifact(DataLoss):
    """A file's bytes differ from its manifest."""

    reason = "CORRUPT_ARTIFACT"


class UriNotAllowed(PermissionDenied):
    """A uri lies outside the allowed roots."""

    reason = "URI_NOT_ALLOWED"


class EncoderFault(InternalError):
    """An encoder returned vectors that cannot be used."""

    reason = "ENCODER_FAULT"
