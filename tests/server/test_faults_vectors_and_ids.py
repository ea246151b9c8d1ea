"""The group *Vectors and ids* of the fault list: docs/faults.md says which test is for which row."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from protos.twinspire.v1 import content_pb2, items_pb2, search_pb2
from tests.server.running import TIMEOUT_S, Failure, Running, unpack
from tests.server.workspaces import COLLECTION, DIMS, direction, make_workspace, sample_items

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]


def vector_query(vector: Any) -> search_pb2.Query:
    return search_pb2.Query(vector=content_pb2.DenseVector(f32le=np.asarray(vector, "<f4").tobytes()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_invalid_arguments(shared: Running, fails: Fails, bad: float) -> None:
    failure = fails(lambda: shared.find(query=vector_query([bad] + [0.5] * (DIMS - 1))))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "NON_FINITE_VECTOR")


def test_a_nan_among_values_is_an_invalid_argument(shared: Running, fails: Fails) -> None:
    vector = content_pb2.DenseVector(values=[float("nan")] * DIMS)

    failure = fails(lambda: shared.find(query=search_pb2.Query(vector=vector)))

    assert failure.reason == "NON_FINITE_VECTOR"


def test_a_zero_vector_is_an_invalid_argument(shared: Running, fails: Fails) -> None:
    failure = fails(lambda: shared.find(query=vector_query([0.0] * DIMS)))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "ZERO_VECTOR")


@pytest.mark.parametrize("dims", [1, DIMS - 1, DIMS + 1, 10_000])
def test_wrong_dims_are_an_invalid_argument(shared: Running, fails: Fails, dims: int) -> None:
    failure = fails(lambda: shared.find(query=vector_query([1.0] * dims)))

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "DIMENSION_MISMATCH")


@pytest.mark.parametrize(
    "vector",
    [
        content_pb2.DenseVector(),
        content_pb2.DenseVector(f32le=bytes(7)),
        content_pb2.DenseVector(f32le=bytes(4 * DIMS), values=[1.0] * DIMS),
    ],
)
def test_a_vector_in_no_or_two_forms_is_an_invalid_argument(
    shared: Running, fails: Fails, vector: content_pb2.DenseVector
) -> None:
    failure = fails(lambda: shared.find(query=search_pb2.Query(vector=vector)))

    assert failure.code == StatusCode.INVALID_ARGUMENT


def test_float64_values_are_cast(shared: Running) -> None:
    vector = content_pb2.DenseVector(values=direction("north").astype(np.float64).tolist())

    assert shared.ids(query=search_pb2.Query(vector=vector), limit=1) == ["north"]


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_a_vector_of_any_length_is_scaled(shared: Running, scale: float) -> None:
    answer = shared.find(query=vector_query(direction("north") * scale), limit=1)

    assert answer.hits[0].score == pytest.approx(1.0, abs=1e-5)


def test_opposite_examples_have_no_direction(shared: Running, fails: Fails) -> None:
    example = search_pb2.Example(text="north")
    examples = search_pb2.ExampleQuery(positives=[example], negatives=[example])

    failure = fails(lambda: shared.find(query=search_pb2.Query(examples=examples)))

    assert failure.reason == "ZERO_VECTOR"


IDS = ["\u00e9", "e\u0301", "\U0001f600", "\u202eabc", " ", "../../x", "\U0010ffff" * 128]


def test_unicode_ids_round_trip_as_different_bytes(running: Running) -> None:
    assert unicodedata.normalize("NFC", IDS[1]) == IDS[0]
    running.upsert(*[items_pb2.Item(id=id, text="north") for id in IDS])

    answer = running.items.GetItems(
        items_pb2.GetItemsRequest(collection=COLLECTION, ids=IDS), timeout=TIMEOUT_S
    )

    assert [item.id for item in answer.items] == IDS
    assert set(IDS) <= set(running.ids("north", limit=20))


@pytest.mark.parametrize("id", ["", "x" * 513, "\u00e9" * 257])
def test_an_empty_or_long_id_is_an_invalid_argument(shared: Running, id: str) -> None:
    answer = shared.upsert(items_pb2.Item(id=id, text="north"))

    (error,) = answer.errors
    assert unpack(error.error)[0].reason == "INVALID_ID"  # type: ignore[attr-defined]
    assert error.error.code == StatusCode.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize("id", ["", "x" * 513])
def test_a_read_of_an_empty_or_long_id_is_an_invalid_argument(shared: Running, fails: Fails, id: str) -> None:
    failure = fails(
        lambda: shared.items.GetItems(
            items_pb2.GetItemsRequest(collection=COLLECTION, ids=[id]), timeout=TIMEOUT_S
        )
    )

    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_ID")


def test_of_duplicate_ids_in_one_upsert_the_last_wins(running: Running) -> None:
    answer = running.upsert(items_pb2.Item(id="twice", text="north"), items_pb2.Item(id="twice", text="far"))

    assert answer.inserted == 1
    assert running.ids("far", limit=2) == ["far", "twice"]


def test_an_encoder_that_yields_nan_is_internal_and_fails_alone(
    tmp_path: Path, start_server: Callable[..., Running], fails: Fails
) -> None:
    others = [item for item in sample_items() if "far" not in item.text]
    with make_workspace(tmp_path / "broken", others, broken_word="far") as ws:
        running = start_server(ws)

        failure = fails(lambda: running.find("far"))

        assert (failure.code, failure.reason) == (StatusCode.INTERNAL, "ENCODER_FAULT")
        assert running.ids("north", limit=1) == ["north"]


def test_an_encoders_fault_is_logged_under_the_id_that_the_client_is_told(
    tmp_path: Path, start_server: Callable[..., Running], fails: Fails, caplog: pytest.LogCaptureFixture
) -> None:
    others = [item for item in sample_items() if "far" not in item.text]
    with make_workspace(tmp_path / "broken", others, broken_word="far") as ws:
        running = start_server(ws)

        failure = fails(lambda: running.find("far"))

    error_id = failure.detail(error_details_pb2.ErrorInfo).metadata["error_id"]
    assert any(getattr(record, "fields", {}).get("error_id") == error_id for record in caplog.records)


def test_an_item_whose_vector_would_be_nan_is_not_acknowledged(
    tmp_path: Path, start_server: Callable[..., Running], fails: Fails
) -> None:
    others = [item for item in sample_items() if "far" not in item.text]
    with make_workspace(tmp_path / "broken", others, broken_word="far") as ws:
        running = start_server(ws)

        failure = fails(lambda: running.upsert(items_pb2.Item(id="bad", text="far")))

        assert failure.code == StatusCode.INTERNAL
        assert "bad" not in running.ids("north", limit=1000)
