"""Fusing two orders into one, and learning how."""

from collections.abc import Sequence

import numpy as np
import pytest

from retrieval.filters import Filter
from retrieval.fusion import LearnedFusion, fuse, order_fused
from retrieval.fusion_learning import learn_fusion
from retrieval.index import Keys, Neighbors, Vectors
from retrieval.judgements import JudgedQuery
from retrieval.search import LinearFusion, RrfFusion

COSINES = np.array([0.9, 0.5, 0.1, np.nan])
LEXICAL = np.array([0.0, 10.0, 20.0, 5.0])
DENSE = np.array([True, True, False, False])


def test_rrf_sums_reciprocal_ranks() -> None:
    scores = fuse(RrfFusion(k=60), LearnedFusion(), COSINES, LEXICAL, DENSE)

    assert scores == pytest.approx([1 / 61, 1 / 62 + 1 / 62, 1 / 61, 1 / 63])


def test_rrf_weighs_its_sides() -> None:
    scores = fuse(RrfFusion(k=0, dense_weight=2, lexical_weight=3), LearnedFusion(), COSINES, LEXICAL, DENSE)

    assert scores == pytest.approx([2, 1 + 3 / 2, 3, 1])


def test_linear_scales_each_side() -> None:
    scores = fuse(LinearFusion(alpha=0.25), LearnedFusion(), COSINES, LEXICAL, DENSE)

    assert scores == pytest.approx([0.25, 0.25 * 0.5 + 0.75 / 3, 0.75, 0.0])


def test_learned_adds_cosines_to_bm25() -> None:
    scores = fuse(LinearFusion(), LearnedFusion(10.0), COSINES, LEXICAL, DENSE)

    assert scores == pytest.approx([9, 15, 21, 6])  # without a vector: as far as the farthest


def test_weight_zero_is_the_order_of_bm25_then_of_the_vectors() -> None:
    lexical, cosines = np.array([3.0, 0.0, 0.0, 3.0, 5.0]), np.array([0.1, 0.2, 0.9, 0.8, -1.0])
    scores = fuse(LinearFusion(), LearnedFusion(0.0), cosines, lexical, np.ones(5, dtype=np.bool_))

    order = order_fused(scores, cosines, lexical, ["b", "z", "y", "a", "c"])

    assert order.tolist() == [4, 3, 0, 2, 1]


@pytest.mark.parametrize("fusion", [RrfFusion(), LinearFusion(alpha=0.5), LinearFusion()])
def test_no_candidates_give_no_scores(fusion: RrfFusion | LinearFusion) -> None:
    nothing = np.empty(0)

    assert len(fuse(fusion, LearnedFusion(), nothing, nothing, np.empty(0, dtype=np.bool_))) == 0


class World:
    """Twenty items; the words score items by number, the vectors as each query says."""

    def __init__(self, cosine: Sequence[Sequence[float]], lexical: Sequence[Sequence[float]]) -> None:
        self.cosine, self.lexical = np.array(cosine, dtype=np.float32), lexical

    def nearest(self, vectors: Vectors, limit: int) -> Neighbors:
        rows = self.cosine[vectors[:, 0].astype(int)]
        order = np.argsort(-rows, axis=1)
        return Neighbors(order + 1, np.take_along_axis(rows, order, axis=1))

    def owners(self, keys: Sequence[int]) -> dict[int, tuple[int, str]]:
        return {key: (key, f"{key:02}") for key in keys}

    def segments_of(self, items: Sequence[int]) -> dict[int, list[int]]:
        return {item: [item] for item in items}

    def known_vectors(self, keys: Keys) -> tuple[Keys, Vectors]:
        raise AssertionError("every item is among the nearest")

    def lexical_search(
        self, texts: Sequence[str], limit: int, filter: Filter | None
    ) -> list[list[tuple[int, str, float]]]:
        return [
            sorted(
                ((n + 1, f"{n + 1:02}", score) for n, score in enumerate(self.lexical[int(text)]) if score),
                key=lambda hit: -hit[2],
            )
            for text in texts
        ]

    def lexical_scores(self, texts: Sequence[str], items: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        return [{} for _ in texts]


def learn(world: World, queries: int) -> dict[str, float]:
    def encode(texts: Sequence[str]) -> Vectors:
        return np.array([[float(text)] for text in texts], dtype=np.float32)

    judged = [JudgedQuery(str(n), str(n), "validation", {"01": 1}) for n in range(queries)]
    return learn_fusion(world, encode, judged)


def test_useless_vectors_get_no_weight() -> None:
    rng = np.random.default_rng(0)
    world = World(rng.uniform(-1, 1, (60, 20)).tolist(), [[9.0, *([3.0] * 19)]] * 60)

    learned = learn(world, 60)

    assert learned["weight"] == 0
    assert learned["gain"] == 0


def test_useful_vectors_get_a_weight() -> None:
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-0.5, 0.5, (60, 20))
    cosines[:, 0] = 0.9  # the relevant item
    world = World(cosines.tolist(), rng.uniform(1, 9, (60, 20)).tolist())

    learned = learn(world, 60)

    assert learned["weight"] > 0
    assert learned["metrics"]["MRR@10"] > learned["bm25"]["MRR@10"] + 0.2  # type: ignore[index]


def test_too_few_queries_teach_nothing() -> None:
    world = World(np.ones((5, 20)).tolist(), [[1.0] * 20] * 5)

    assert learn(world, 5) == {}


def test_a_manifest_without_fusion_means_the_default() -> None:
    assert LearnedFusion.from_manifest({}) == LearnedFusion()
    assert LearnedFusion.from_manifest({"weight": 0.0}).weight == 0
