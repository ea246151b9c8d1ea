import inspect
from collections.abc import Iterator

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

import server.answering
import server.config
import server.errors
import server.health
from retrieval import errors
from retrieval.errors import TwinspireError
from server.status import CODES, DOMAIN, MAX_TEXT, code_of, status_of
from tests.server.running import unpack

del server


def all_errors(root: type[TwinspireError] = TwinspireError) -> Iterator[type[TwinspireError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from all_errors(kind)


def instance(kind: type[TwinspireError]) -> TwinspireError:
    values: dict[str, object] = {}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if (
            name == "self"
            or parameter.kind == parameter.VAR_KEYWORD
            or parameter.default is not parameter.empty
        ):
            continue
        values[name] = {"int": 3, "list[str]": ["a", "b"]}.get(str(parameter.annotation).strip("'"), "text")
        if parameter.annotation is int:
            values[name] = 3
        if parameter.annotation == list[str]:
            values[name] = ["a", "b"]
    return kind(**values)  # type: ignore[arg-type]


EVERY_ERROR = sorted(set(all_errors()), key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_has_a_code_and_tells_its_reason(kind: type[TwinspireError]) -> None:
    status = status_of(instance(kind))

    info = unpack(status)[0]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (kind.reason, DOMAIN)
    assert status.code not in (StatusCode.OK.value[0], StatusCode.UNKNOWN.value[0])


def test_every_category_is_in_the_table() -> None:
    assert {kind for kind in TwinspireError.__subclasses__() if kind.__module__ == errors.__name__} == set(
        CODES
    )


def test_reasons_are_the_names_of_one_class_each() -> None:
    leaves = [kind.reason for kind in EVERY_ERROR if "reason" in vars(kind) and kind not in CODES]

    assert sorted(leaves) == sorted(set(leaves))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DimensionMismatch(3, 4), StatusCode.INVALID_ARGUMENT),
        (errors.CollectionNotFound("films"), StatusCode.NOT_FOUND),
        (errors.EncoderIndexMismatch("a", "b"), StatusCode.FAILED_PRECONDITION),
        (errors.VersionMoved("moved"), StatusCode.ABORTED),
        (errors.BackendUnavailable("down"), StatusCode.UNAVAILABLE),
        (errors.Overloaded("full"), StatusCode.RESOURCE_EXHAUSTED),
        (errors.CorruptArtifact("bits"), StatusCode.DATA_LOSS),
        (errors.UriNotAllowed("no"), StatusCode.PERMISSION_DENIED),
        (errors.Unimplemented("later"), StatusCode.UNIMPLEMENTED),
        (errors.EncoderFault("NaN"), StatusCode.INTERNAL),
    ],
)
def test_a_category_decides_the_code(error: TwinspireError, code: StatusCode) -> None:
    assert code_of(error) == code


def test_invalid_input_names_the_field() -> None:
    details = unpack(status_of(errors.InvalidLimit(0, 1000)))

    (violation,) = details[1].field_violations  # type: ignore[attr-defined]
    assert (violation.field, violation.reason) == ("limit", "INVALID_LIMIT")


def test_an_overload_tells_when_to_retry() -> None:
    details = unpack(status_of(errors.Overloaded("full", retry_after_s=0.25)))

    (retry,) = [detail for detail in details if isinstance(detail, error_details_pb2.RetryInfo)]
    assert retry.retry_delay.ToMilliseconds() == 250


def test_an_overload_tells_which_quota_is_used_up() -> None:
    details = unpack(status_of(errors.Overloaded("full", retry_after_s=0.25)))

    assert any(isinstance(detail, error_details_pb2.QuotaFailure) for detail in details)


def test_a_failed_precondition_tells_which() -> None:
    details = unpack(status_of(errors.MissingExtra("rnn towers", "train")))

    assert details[1].violations[0].type == "MISSING_EXTRA"  # type: ignore[attr-defined]


def test_a_long_message_is_cut_to_fit_the_headers() -> None:
    status = status_of(errors.CollectionNotFound("x" * 100_000))

    assert len(status.message) <= MAX_TEXT + 3
    assert status.ByteSize() < 4096
