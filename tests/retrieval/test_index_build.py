"""Building an index: what is chosen, what is refused, what is measured."""

from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import DimensionMismatch, InternalError, InvalidInput, NonFiniteVector
from retrieval.index_build import BuiltIndex, build_index, exact_scores, open_index_files, recalls
from retrieval.index_types import IndexParameters, choose_parameters
from tests.vectors import unit_rows


def build(folder: Path, count: int = 3000, dims: int = 16, **overrides: object) -> BuiltIndex:
    parameters = choose_parameters(count, dims, overrides=overrides)
    keys, vectors = np.arange(1, count + 1), unit_rows(count, dims)
    batches = ((keys[at : at + 500], vectors[at : at + 500]) for at in range(0, count, 500))
    return build_index(folder, batches, dims, parameters, unit_rows(200, dims, seed=1))


def test_small_collections_are_scanned() -> None:
    assert choose_parameters(9_999, 256).kind == "flat"


def test_large_collections_get_a_graph_in_half_precision() -> None:
    chosen = choose_parameters(200_000, 256)

    assert (chosen.kind, chosen.storage, chosen.m) == ("hnsw", "f16", 32)


def test_a_flag_overrides_the_choice() -> None:
    chosen = choose_parameters(100, 256, overrides={"kind": "hnsw", "m": "16", "recall_target": "0.99"})

    assert (chosen.kind, chosen.m, chosen.recall_target) == ("hnsw", 16, 0.99)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"knd": "flat"}, "index parameter 'knd' is unknown"),
        ({"kind": "tree"}, "kind: expected flat or hnsw or ivf, got 'tree'"),
        ({"m": "many"}, "m: expected int, got 'many'"),
        ({"m": 1}, "m: expected 2 to 256, got 1"),
        ({"recall_target": 1.5}, "recall_target: expected 0.0 to 1.0, got 1.5"),
        ({"recall_target": "nan"}, "recall_target: expected 0.0 to 1.0, got nan"),
        ({"storage": "f64"}, "storage: expected f32 or f16 or sq8"),
        ({"backend": "disk"}, "backend: expected faiss or exact"),
    ],
)
def test_a_wrong_override_is_refused(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        choose_parameters(100, 256, overrides=overrides)


def test_parameters_survive_json() -> None:
    chosen = choose_parameters(200_000, 256, overrides={"kind": "ivf", "storage": "sq8"})

    assert IndexParameters.from_json(chosen.to_json()) == chosen


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize("target", [0.8, 0.95, 0.99])
def test_the_effort_reaches_the_recall_target(tmp_path: Path, kind: str, target: float) -> None:
    built = build(tmp_path, kind=kind, recall_target=target, m=8, storage="f16")

    index = open_index_files(tmp_path, built.parameters)
    others = unit_rows(300, 16, seed=2)
    found = recalls(index, others, exact_scores(index, others), built.parameters.effort).mean()
    assert found >= target - 0.02


def test_a_higher_target_takes_more_effort(tmp_path: Path) -> None:
    efforts = []
    for target in (0.7, 0.999):
        (tmp_path / str(target)).mkdir()
        built = build(tmp_path / str(target), kind="hnsw", recall_target=target, m=4)
        efforts.append(built.parameters.effort)

    assert efforts[0] < efforts[1]


def test_the_recall_is_measured_on_queries_that_did_not_choose_the_effort(tmp_path: Path) -> None:
    built = build(tmp_path, kind="hnsw")

    assert built.parameters.recall_queries == 100
    assert 0.9 < built.parameters.recall <= 1.0


def test_a_given_effort_is_kept_and_measured(tmp_path: Path) -> None:
    built = build(tmp_path, kind="hnsw", effort=16, m=4)

    assert built.parameters.effort == 16
    assert 0 < built.parameters.recall < 1


def test_a_build_needs_no_queries(tmp_path: Path) -> None:
    parameters = choose_parameters(100, 8, overrides={"kind": "hnsw"})

    built = build_index(tmp_path, [(np.arange(1, 101), unit_rows(100))], 8, parameters, unit_rows(0))

    assert built.parameters.effort > 0
    assert built.parameters.recall >= 0.95


def test_a_build_tells_what_it_made(tmp_path: Path) -> None:
    seen: list[int] = []
    batches = [(np.array([5, 9]), unit_rows(2)), (np.array([12]), unit_rows(1))]

    built = build_index(tmp_path, batches, 8, choose_parameters(3, 8), unit_rows(1), seen.append)

    assert (built.count, built.built_key, seen) == (3, 12, [2, 3])


@pytest.mark.parametrize("storage", ["f32", "f16", "sq8"])
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_every_kind_takes_every_storage(tmp_path: Path, kind: str, storage: str) -> None:
    built = build(tmp_path, 600, kind=kind, storage=storage)
    index = open_index_files(tmp_path, built.parameters)

    found = index.search(unit_rows(600, 16)[:50], limit=1)

    assert found.keys[:, 0].tolist() == list(range(1, 51))


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DimensionMismatch, match="expected 8 dimensions, got 16"):
        build_index(tmp_path, [(np.array([1]), unit_rows(1, 16))], 8, IndexParameters(), unit_rows(1))


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(tmp_path: Path, poison: float) -> None:
    vectors = unit_rows(3)
    vectors[1, 2] = poison

    with pytest.raises(NonFiniteVector):
        build_index(tmp_path, [(np.array([1, 2, 3]), vectors)], 8, IndexParameters(), unit_rows(1))


def test_vectors_that_are_not_of_unit_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="unit length"):
        build_index(tmp_path, [(np.array([1]), 2 * unit_rows(1))], 8, IndexParameters(), unit_rows(1))


@pytest.mark.parametrize("batches", [[[2, 1]], [[1, 1]], [[1, 3], [2]], [[1], [1]], [[0]]])
def test_keys_that_do_not_ascend_are_refused(tmp_path: Path, batches: list[list[int]]) -> None:
    vectors = [(np.array(keys), unit_rows(len(keys))) for keys in batches]

    with pytest.raises(InternalError, match="ascend"):
        build_index(tmp_path, vectors, 8, IndexParameters(), unit_rows(1))
