"""Vectors that came after the index was built."""

import numpy as np
import pytest

from retrieval.fresh_vectors import FreshVectors
from tests.vectors import unit_rows


def test_what_is_added_is_held_by_ascending_key() -> None:
    fresh = FreshVectors(8)
    vectors = unit_rows(4)
    fresh.add(np.array([9, 7]), vectors[:2])
    fresh.add(np.array([8, 12]), vectors[2:])

    held = fresh.snapshot()

    assert held.keys.tolist() == [7, 8, 9, 12]
    assert (held.vectors(np.array([9, 7, 8, 12])) == vectors).all()


def test_a_snapshot_never_changes() -> None:
    fresh = FreshVectors(8)
    fresh.add(np.array([1, 3]), unit_rows(2))
    before = fresh.snapshot()

    fresh.add(np.array([2]), unit_rows(1))
    fresh.drop(np.array([1, 2]))

    assert before.keys.tolist() == [1, 3]
    assert (before.vectors(np.array([1, 3])) == unit_rows(2)).all()


def test_a_key_is_held_once() -> None:
    fresh = FreshVectors(8)
    fresh.add(np.array([5, 5]), unit_rows(2))
    fresh.add(np.array([5, 6]), unit_rows(2, seed=1))

    assert fresh.snapshot().keys.tolist() == [5, 6]
    assert (fresh.snapshot().vectors(np.array([5])) == unit_rows(2)[:1]).all()


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_it_grows_without_losing_any(batch: int) -> None:
    fresh, vectors, keys = FreshVectors(8), unit_rows(1000), np.arange(1, 1001)
    for at in range(0, 1000, batch):
        fresh.add(keys[at : at + batch], vectors[at : at + batch])

    assert len(fresh) == 1000
    assert (fresh.snapshot().vectors(keys) == vectors).all()


def test_what_died_is_dropped() -> None:
    fresh = FreshVectors(8)
    fresh.add(np.array([1, 2, 3]), unit_rows(3))

    fresh.drop(np.array([1, 3, 99]))
    fresh.add(np.array([4]), unit_rows(1, seed=1))

    assert fresh.snapshot().keys.tolist() == [2, 4]
