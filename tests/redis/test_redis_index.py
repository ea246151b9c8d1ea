"""What the contract of every index does not say: writes, quantisation, filters' recall, crashes."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.backend_errors import IndexLost
from retrieval.errors import InvalidInput, NonFiniteVector, ZeroVector
from retrieval.index import Keys, Vectors
from retrieval.index_build import build_index, open_index_files
from retrieval.index_types import choose_parameters
from retrieval.local_redis import LocalRedis
from retrieval.redis_index import RedisIndex
from retrieval.redis_layout import SLOTS, partition_tags, slot_of
from retrieval.redis_server import RedisServer, use_redis
from tests.vectors import Chosen, unit_rows

COUNT, DIMS = 3000, 32


def build(folder: Path, vectors: Vectors, **overrides: Any) -> RedisIndex:
    parameters = choose_parameters(
        len(vectors), DIMS, overrides={"backend": "redis", "effort": 50} | overrides
    )
    folder.mkdir(exist_ok=True)
    built = build_index(folder, [(np.arange(1, len(vectors) + 1), vectors)], DIMS, parameters, vectors[:10])
    index = open_index_files(folder, built.parameters)
    assert isinstance(index, RedisIndex)
    return index


@pytest.fixture(scope="module")
def large(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> RedisIndex:
    """An index that is only searched."""
    use_redis(redis_url)
    try:
        return build(tmp_path_factory.mktemp("large") / "index", unit_rows(COUNT, DIMS), effort=100)
    finally:
        use_redis("")


@pytest.fixture
def index(redis_backend: str, tmp_path: Path) -> RedisIndex:
    """An index of a hundred vectors, to be written to."""
    return build(tmp_path / "index", unit_rows(100, DIMS))


def recall(index: RedisIndex, queries: Vectors, vectors: Vectors, keys: Keys) -> float:
    found = index.search(queries, 10, selection=Chosen(keys)).keys
    best = keys[np.argsort(-(queries @ vectors[keys - 1].T), axis=1)[:, :10]]
    shared = [len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), best.tolist(), strict=True)]
    return float(np.mean(shared))


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("spread", ["random", "one region"])
def test_filters_keep_their_recall(large: RedisIndex, share: float, spread: str) -> None:
    vectors, queries = unit_rows(COUNT, DIMS), unit_rows(40, DIMS, seed=1)
    order = np.random.default_rng(2).permutation(COUNT)
    if spread == "one region":
        order = np.argsort(-(vectors @ vectors[0]))

    keys = np.sort(order[: int(share * COUNT)] + 1)

    assert recall(large, queries, vectors, keys) >= 0.95


def test_an_added_vector_is_found(index: RedisIndex) -> None:
    new = unit_rows(1, DIMS, seed=5)

    index.add(np.array([1000]), new, ["{}"])

    assert index.search(new, 1).keys.tolist() == [[1000]]
    assert 1000 in index.keys


def test_a_replaced_vector_is_found_as_it_is_now(index: RedisIndex) -> None:
    new = unit_rows(1, DIMS, seed=5)

    index.add(np.array([7]), new, ["{}"])

    found = index.search(new, 1)
    assert found.keys.tolist() == [[7]]
    assert found.scores[0, 0] == pytest.approx(1, abs=1e-5)


def test_a_removed_vector_is_not_found(index: RedisIndex) -> None:
    old = index.vectors(np.array([7]))

    index.remove(np.array([7]))

    assert 7 not in index.search(old, 100).keys


def test_removing_what_is_not_there_changes_nothing(index: RedisIndex) -> None:
    index.remove(np.array([7, 5000]))
    index.remove(np.array([7]))

    assert (index.search(unit_rows(1, DIMS), 200).keys > 0).sum() == 99


@pytest.mark.parametrize(
    ("poison", "error"),
    [(np.nan, NonFiniteVector), (np.inf, NonFiniteVector), (0, ZeroVector), (3, InvalidInput)],
)
def test_vectors_that_would_spoil_every_answer_are_refused(
    index: RedisIndex, poison: float, error: type[Exception]
) -> None:
    with pytest.raises(error):
        index.add(np.array([7]), np.full((1, DIMS), poison, np.float32), ["{}"])


def test_a_limit_of_millions_is_capped_before_redis(index: RedisIndex) -> None:
    found = index.search(unit_rows(1, DIMS), 5_000_000)

    assert (found.keys > 0).sum() == 100


@pytest.mark.parametrize("storage", ["sq8", "bin"])
def test_quantised_scores_are_exact(redis_backend: str, tmp_path: Path, storage: str) -> None:
    vectors, queries = unit_rows(500, DIMS), unit_rows(20, DIMS, seed=1)
    index = build(tmp_path / storage, vectors, storage=storage)

    found = index.search(queries, 10)

    expected = np.einsum("nkd,nd->nk", vectors[found.keys - 1], queries)
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)


def test_quantised_vectors_can_be_replaced_and_removed(redis_backend: str, tmp_path: Path) -> None:
    index = build(tmp_path / "sq8", unit_rows(100, DIMS), storage="sq8")
    new = unit_rows(2, DIMS, seed=5)

    index.add(np.array([7, 1000]), new, ["{}", "{}"])
    index.remove(np.array([1000]))

    assert index.search(new[:1], 1).scores[0, 0] == pytest.approx(1, abs=1e-5)
    assert 1000 not in index.search(new[1:], 50).keys


def test_writers_of_the_same_keys_leave_one_of_their_vectors(index: RedisIndex) -> None:
    choices = [unit_rows(10, DIMS, seed=seed) for seed in (5, 6)]
    keys = np.arange(11, 21)

    def write(rows: Vectors) -> None:
        for _ in range(20):
            index.add(keys, rows, ["{}"] * 10)
            index.remove(keys[:3])
            index.add(keys[:3], rows[:3], ["{}"] * 3)

    threads = [threading.Thread(target=write, args=(rows,)) for rows in choices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    stored = index.vectors(keys)
    for row, one, other in zip(stored, *choices, strict=True):
        assert min(np.abs(row - one).max(), np.abs(row - other).max()) < 1e-5
    assert (index.search(unit_rows(1, DIMS), 200).keys > 0).sum() == 100


def test_a_lost_vector_set_is_no_empty_answer(index: RedisIndex, redis_backend: str) -> None:
    server = RedisServer(redis_backend)
    for each in server.call("KEYS", f"*:{index.where.build}:vectors"):
        server.call("DEL", each)

    with pytest.raises(IndexLost):
        index.search(unit_rows(1, DIMS), 5)
    server.close()


def test_replaced_vectors_survive_a_crash(tmp_path: Path) -> None:
    with LocalRedis("--appendonly", "yes", "--appendfsync", "always") as redis:
        use_redis(redis.url)
        try:
            index = build(tmp_path / "index", unit_rows(50, DIMS))
            new = unit_rows(1, DIMS, seed=5)
            index.add(np.array([7]), new, ["{}"])
            index.remove(np.array([8]))
            redis.kill()
            redis.start()

            assert index.search(new, 1).keys.tolist() == [[7]]
            assert (index.search(new, 100).keys > 0).sum() == 49
        finally:
            use_redis("")


@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_partitions_spread_evenly_over_the_slots(partitions: int) -> None:
    slots = np.sort([slot_of(tag) for tag in partition_tags("c", partitions)])

    gaps = np.diff([*slots, slots[0] + SLOTS])
    assert gaps.min() > 0.6 * SLOTS / partitions
    assert gaps.max() < 1.4 * SLOTS / partitions or partitions == 1


def test_known_faults_of_versions_are_told(redis_backend: str) -> None:
    server = RedisServer(redis_backend)
    server.version = (8, 0, 2)
    assert server.has_known_faults
    server.version = (8, 8, 2)
    assert not server.has_known_faults
    server.version = (8, 10, 0)
    assert server.has_known_faults
    server.version = (8, 12, 0)
    assert not server.has_known_faults
    server.close()
