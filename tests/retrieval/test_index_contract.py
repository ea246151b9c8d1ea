"""The contract of every index: each test runs over each backend."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from retrieval.device import VARIABLE
from retrieval.errors import DimensionMismatch, NonFiniteVector
from retrieval.index import NO_KEY, Index, Keys, Vectors
from retrieval.index_build import build_index, open_index_files
from retrieval.index_types import choose_parameters
from tests.vectors import Chosen, unit_rows

DIMS = 16

MakeIndex: TypeAlias = Callable[[Keys, Vectors], Index]

BACKENDS: dict[str, dict[str, Any]] = {
    "exact": {"backend": "exact", "storage": "f32"},
    "exact f16": {"backend": "exact", "storage": "f16"},
    "flat": {"kind": "flat", "storage": "f32"},
    "flat f16": {"kind": "flat", "storage": "f16"},
    "hnsw": {"kind": "hnsw", "storage": "f32"},
    "hnsw f16": {"kind": "hnsw", "storage": "f16"},
    "hnsw sq8": {"kind": "hnsw", "storage": "sq8"},
    "ivf f16": {"kind": "ivf", "storage": "f16", "nlist": 4},
    "redis": {"backend": "redis"},
    "redis sq8": {"backend": "redis", "storage": "sq8"},
    "redis bin": {"backend": "redis", "storage": "bin"},
    "redis in 3 partitions": {"backend": "redis", "partitions": 3},
}
ON_A_GPU = ["flat", "flat f16", "hnsw f16", "hnsw sq8", "ivf f16"]


@pytest.fixture(
    params=[
        *BACKENDS,
        *(pytest.param(f"{name} on a GPU", marks=pytest.mark.gpu) for name in ON_A_GPU),
    ]
)
def make_index(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeIndex:
    backend = BACKENDS[request.param.removesuffix(" on a GPU")]
    if request.param.endswith(" on a GPU"):
        monkeypatch.setenv(VARIABLE, "cuda")
    if backend.get("backend") == "redis":
        request.getfixturevalue("redis_backend")

    def make(keys: Keys, vectors: Vectors) -> Index:
        parameters = choose_parameters(len(keys), vectors.shape[1], 0.99, backend)
        batches = [
            (keys[start : start + 100], vectors[start : start + 100]) for start in range(0, len(keys), 100)
        ]
        built = build_index(tmp_path, batches, vectors.shape[1], parameters, vectors[:50])
        return open_index_files(tmp_path, built.parameters)

    return make


def keys_of(count: int) -> Keys:
    return np.arange(1, count + 1) * 3


def test_nearest_comes_first(make_index: MakeIndex) -> None:
    index = make_index(np.array([7, 9]), np.eye(2, dtype=np.float32))

    found = index.search(np.array([[0.6, 0.8]], dtype=np.float32), limit=2)

    assert found.keys.tolist() == [[9, 7]]


def test_scores_are_the_cosines_of_the_stored_vectors(make_index: MakeIndex) -> None:
    index = make_index(keys_of(300), unit_rows(300, DIMS))
    queries = unit_rows(20, DIMS, seed=1)

    found = index.search(queries, limit=5)

    expected = np.einsum("nkd,nd->nk", index.vectors(found.keys.ravel()).reshape(20, 5, 16), queries)
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)


def test_scores_are_the_cosines_of_the_given_vectors(make_index: MakeIndex) -> None:
    vectors, queries = unit_rows(300, DIMS), unit_rows(20, DIMS, seed=1)
    index = make_index(keys_of(300), vectors)

    found = index.search(queries, limit=5)

    expected = np.einsum("nkd,nd->nk", vectors[found.keys // 3 - 1], queries)
    np.testing.assert_allclose(found.scores, expected, atol=5e-4)  # half precision


def test_exact_search_finds_the_true_neighbours(make_index: MakeIndex) -> None:
    vectors, queries = unit_rows(500, DIMS), unit_rows(20, DIMS, seed=1)
    index = make_index(keys_of(500), vectors)

    found = index.search(queries, limit=10, exact=True)

    stored = index.vectors(index.keys)
    expected = np.argsort(-(queries @ stored.T), axis=1)[:, :10]
    assert (found.keys == keys_of(500)[expected]).mean() > 0.99


def test_search_finds_nearly_all_true_neighbours(make_index: MakeIndex) -> None:
    index = make_index(keys_of(500), unit_rows(500, DIMS))
    queries = unit_rows(50, DIMS, seed=1)

    found, true = index.search(queries, limit=10), index.search(queries, limit=10, exact=True)

    shared = [len(set(a) & set(b)) for a, b in zip(found.keys.tolist(), true.keys.tolist(), strict=True)]
    assert sum(shared) / 500 > 0.9


def test_scores_descend(make_index: MakeIndex) -> None:
    index = make_index(keys_of(300), unit_rows(300, DIMS))

    found = index.search(unit_rows(20, DIMS, seed=1), limit=10)

    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_a_limit_beyond_the_count_ends_in_no_key(make_index: MakeIndex) -> None:
    index = make_index(keys_of(3), unit_rows(3, DIMS))

    found = index.search(unit_rows(2, DIMS, seed=1), limit=5)

    assert (np.sort(found.keys[:, :3], axis=1) == [3, 6, 9]).all()
    assert (found.keys[:, 3:] == NO_KEY).all()
    assert np.isneginf(found.scores[:, 3:]).all()


def test_an_empty_index_finds_nothing(make_index: MakeIndex) -> None:
    index = make_index(keys_of(0), unit_rows(0, DIMS))

    found = index.search(unit_rows(2, DIMS), limit=5)

    assert (found.keys == NO_KEY).all()
    assert found.keys.shape == (2, 5)


def test_no_queries_give_no_rows(make_index: MakeIndex) -> None:
    index = make_index(keys_of(30), unit_rows(30, DIMS))

    found = index.search(unit_rows(0, DIMS), limit=5)

    assert found.keys.shape == (0, 5)


@pytest.mark.parametrize("matching", [1, 5, 50, 250, 499])
def test_a_selection_finds_the_nearest_that_match(make_index: MakeIndex, matching: int) -> None:
    vectors, queries = unit_rows(500, DIMS), unit_rows(20, DIMS, seed=1)
    index = make_index(keys_of(500), vectors)
    chosen = np.sort(np.random.default_rng(2).permutation(500)[:matching])

    found = index.search(queries, limit=10, selection=Chosen(keys_of(500)[chosen]))

    shown = min(10, matching)
    expected = chosen[np.argsort(-(queries @ vectors[chosen].T), axis=1)[:, :shown]]
    assert (found.keys[:, shown:] == NO_KEY).all()
    shared = [
        len(set(a) & set(b))
        for a, b in zip(found.keys.tolist(), keys_of(500)[expected].tolist(), strict=True)
    ]
    assert sum(shared) / (20 * shown) > 0.95


def test_a_selection_of_unknown_keys_finds_nothing(make_index: MakeIndex) -> None:
    index = make_index(keys_of(30), unit_rows(30, DIMS))

    found = index.search(unit_rows(2, DIMS), limit=5, selection=Chosen(np.array([1, 2, 1000])))

    assert (found.keys == NO_KEY).all()


def test_an_empty_selection_finds_nothing(make_index: MakeIndex) -> None:
    index = make_index(keys_of(30), unit_rows(30, DIMS))

    found = index.search(unit_rows(2, DIMS), limit=5, selection=Chosen(keys_of(0)))

    assert (found.keys == NO_KEY).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_queries_that_are_not_finite_are_refused(make_index: MakeIndex, poison: float) -> None:
    index = make_index(keys_of(30), unit_rows(30, DIMS))
    queries = unit_rows(2, DIMS)
    queries[1, 3] = poison

    with pytest.raises(NonFiniteVector):
        index.search(queries, limit=5)


def test_queries_of_another_width_are_refused(make_index: MakeIndex) -> None:
    index = make_index(keys_of(30), unit_rows(30, DIMS))

    with pytest.raises(DimensionMismatch, match="expected 16 dimensions, got 8"):
        index.search(unit_rows(2, dims=8), limit=5)


def test_vectors_come_in_the_order_of_the_keys(make_index: MakeIndex) -> None:
    vectors = unit_rows(30, DIMS)
    index = make_index(keys_of(30), vectors)

    np.testing.assert_allclose(index.vectors(np.array([9, 3, 90])), vectors[[2, 0, 29]], atol=5e-4)


@pytest.mark.parametrize("key", [1, 0, -1, 1000])
def test_the_vector_of_an_unknown_key_is_an_error(make_index: MakeIndex, key: int) -> None:
    index = make_index(keys_of(30), unit_rows(30, DIMS))

    with pytest.raises(KeyError):
        index.vectors(np.array([3, key]))


def test_keys_ascend(make_index: MakeIndex) -> None:
    index = make_index(keys_of(250), unit_rows(250, DIMS))

    assert index.keys.tolist() == keys_of(250).tolist()


def test_threads_may_search_together(make_index: MakeIndex) -> None:
    index = make_index(keys_of(500), unit_rows(500, DIMS))
    queries = unit_rows(64, DIMS, seed=1)
    alone = index.search(queries, limit=10).keys

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: index.search(queries, limit=10).keys, range(16)))

    assert all((keys == alone).all() for keys in together)


def test_equal_vectors_are_all_found(make_index: MakeIndex) -> None:
    index = make_index(keys_of(5), np.repeat(unit_rows(1, DIMS), 5, axis=0))

    found = index.search(unit_rows(1, DIMS), limit=5)

    assert found.keys.tolist() == [[3, 6, 9, 12, 15]]


def test_capabilities_name_the_backend(make_index: MakeIndex) -> None:
    index = make_index(keys_of(5), unit_rows(5, DIMS))

    assert index.capabilities.backend in ("exact", "faiss", "redis")
    assert index.capabilities.filtered_search
