import numpy as np
import pytest

from retrieval.collections import create_collection
from retrieval.embeddings import (
    count_embeddings,
    embedded_keys,
    embeddings_of,
    encoder_row,
    put_embeddings,
    read_embeddings,
)
from retrieval.errors import (
    DimensionMismatch,
    IncompatibleModel,
    InvalidInput,
    ModelNotFound,
    NonFiniteVector,
    TwinspireError,
    ZeroVector,
)
from retrieval.index import Vectors
from retrieval.items import Item, delete_items, upsert_items
from retrieval.workspace import Workspace

NAN, INF = float("nan"), float("inf")


def vectors(count: int, dims: int = 4, seed: int = 0) -> Vectors:
    drawn = np.random.default_rng(seed).normal(size=(count, dims))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Ten items, with the keys 1 to 10, and an encoder "f" of width 4."""
    upsert_items(workspace, "c", [Item(str(n), text=f"text {n}") for n in range(10)])
    encoder_row(workspace, "f", 4)
    return workspace


def test_vectors_come_back_bit_for_bit_by_ascending_key(filled: Workspace) -> None:
    stored = vectors(10)
    put_embeddings(filled, "f", np.arange(1, 11)[::-1], stored[::-1])

    batches = list(read_embeddings(filled, "c", "f", batch=4))

    assert [keys.tolist() for keys, _ in batches] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert np.array_equal(np.vstack([found for _, found in batches]), stored)


def test_half_precision_vectors_come_back_as_unit_floats(filled: Workspace) -> None:
    encoder_row(filled, "half", 4, "<f2")
    put_embeddings(filled, "half", [1, 2], vectors(2))

    _, found = embeddings_of(filled, "half", [1, 2])

    assert found.dtype == np.float32
    assert np.allclose(found, vectors(2), atol=1e-3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_reading_goes_on_after_a_key(filled: Workspace) -> None:
    put_embeddings(filled, "f", np.arange(1, 11), vectors(10))

    ((keys, _),) = read_embeddings(filled, "c", "f", after_key=8)

    assert keys.tolist() == [9, 10]


def test_what_is_written_between_batches_is_found(filled: Workspace) -> None:
    put_embeddings(filled, "f", np.arange(1, 6), vectors(5))
    reading = read_embeddings(filled, "c", "f", batch=4)
    next(reading)

    put_embeddings(filled, "f", np.arange(6, 11), vectors(5))

    assert [keys.tolist() for keys, _ in reading] == [[5, 6, 7, 8], [9, 10]]


def test_a_segment_keeps_its_first_vector(filled: Workspace) -> None:
    put_embeddings(filled, "f", [1], vectors(1, seed=1))

    assert put_embeddings(filled, "f", [1, 2], vectors(2, seed=2)) == 1
    assert np.array_equal(embeddings_of(filled, "f", [1])[1], vectors(1, seed=1))


def test_segments_that_were_deleted_meanwhile_are_left_out(filled: Workspace) -> None:
    delete_items(filled, "c", ["0"])

    assert put_embeddings(filled, "f", [1, 2, 99], vectors(3)) == 1
    assert embedded_keys(filled, "c", "f").tolist() == [2]


def test_deleting_an_item_deletes_its_vector(filled: Workspace) -> None:
    put_embeddings(filled, "f", [1, 2], vectors(2))

    delete_items(filled, "c", ["0"])

    assert filled.fetch("SELECT segment FROM embeddings") == [(2,)]


def test_vectors_belong_to_one_collection_and_one_encoder(filled: Workspace) -> None:
    create_collection(filled, "other")
    upsert_items(filled, "other", [Item("a", text="x")])
    encoder_row(filled, "g", 4)
    put_embeddings(filled, "f", [1, 11], vectors(2))
    put_embeddings(filled, "g", [2], vectors(1))

    assert count_embeddings(filled, "c", "f") == 1
    assert embedded_keys(filled, "other", "f").tolist() == [11]
    assert count_embeddings(filled, "c", "unknown") == 0


def test_only_those_that_have_a_vector_are_returned(filled: Workspace) -> None:
    put_embeddings(filled, "f", [3, 1], vectors(2))

    keys, found = embeddings_of(filled, "f", [7, 3, 1, 3])

    assert keys.tolist() == [1, 3]
    assert np.array_equal(found, vectors(2)[::-1])


def test_no_vectors_have_the_shape_of_none(filled: Workspace) -> None:
    keys, found = embeddings_of(filled, "f", [1])

    assert (keys.shape, found.shape) == ((0,), (0, 4))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ([[1, 0, 0]], DimensionMismatch),
        ([1, 0, 0, 0], DimensionMismatch),
        ([[NAN, 0, 0, 0]], NonFiniteVector),
        ([[0, 0, INF, 0]], NonFiniteVector),
        ([[0, 0, 0, 0]], ZeroVector),
        ([[2, 0, 0, 0]], InvalidInput),
        ([[1, 0, 0, 0], [1, 0, 0, 0]], InvalidInput),
    ],
)
def test_vectors_that_cannot_be_right_are_refused(
    bad: list[list[float]], error: type[TwinspireError], filled: Workspace
) -> None:
    with pytest.raises(error):
        put_embeddings(filled, "f", [1], np.array(bad, dtype=np.float32))

    assert count_embeddings(filled, "c", "f") == 0


def test_doubles_are_cast(filled: Workspace) -> None:
    doubles = vectors(1).astype(np.float64)

    put_embeddings(filled, "f", [1], doubles)  # type: ignore[arg-type]

    assert np.array_equal(embeddings_of(filled, "f", [1])[1], vectors(1))


def test_an_encoder_is_registered_once(filled: Workspace) -> None:
    assert encoder_row(filled, "f", 4) == encoder_row(filled, "f", 4)


@pytest.mark.parametrize(("dims", "dtype"), [(5, "<f4"), (4, "<f2")])
def test_an_encoder_never_changes_its_shape(dims: int, dtype: str, filled: Workspace) -> None:
    with pytest.raises(IncompatibleModel):
        encoder_row(filled, "f", dims, dtype)


@pytest.mark.parametrize(("dims", "dtype"), [(0, "<f4"), (4, ">f4"), (4, "O")])
def test_a_senseless_shape_is_refused(dims: int, dtype: str, workspace: Workspace) -> None:
    with pytest.raises(InvalidInput):
        encoder_row(workspace, "new", dims, dtype)


def test_an_unknown_encoder_has_no_vectors(filled: Workspace) -> None:
    with pytest.raises(ModelNotFound):
        next(read_embeddings(filled, "c", "unknown"))
