"""What belongs together, how batches are made of it, and how it is measured."""

import numpy as np
import pytest
import torch

from encoders.training.fusion_objective import FusionBatches, infonce, triplet
from encoders.training.relations import by_label, by_pairs, never_parted, singletons
from encoders.training.similarity import rank
from retrieval.errors import InvalidTrainingData


def test_items_without_the_attribute_are_neither_together_nor_apart() -> None:
    relations = by_label(["a", None, "a"])
    everything = np.arange(3)

    assert relations.together(everything, everything)[1].sum() == 0
    assert relations.apart(everything, everything)[1].sum() == 0


def test_pairs_hold_in_both_directions() -> None:
    relations = by_pairs(["x", "y", "z"], [("y", "x")])
    everything = np.arange(3)

    assert relations.together(everything, everything).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
    ]


@pytest.mark.parametrize("pair", [("x", "nobody"), ("x", "x")])
def test_a_pair_that_cannot_be_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidTrainingData):
        by_pairs(["x", "y"], [pair])


def test_what_pairs_join_is_never_parted() -> None:
    relations = by_pairs(["x", "y", "z"], [("x", "z")])

    first, second, third = never_parted(np.arange(3), relations)

    assert first == third != second


def test_singletons_belong_to_no_other_group() -> None:
    groups = np.array([0, 0, 1, 2])

    assert singletons(by_label(["a", "a", "b", "b"]), groups) == [0, 1]


def test_a_perfect_order_has_the_best_metrics() -> None:
    vectors = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    groups = np.arange(4)

    ranked = rank(vectors, groups, by_label(["a", "a", "b", "b"]), groups)

    assert ranked.means() == {"P@1": 1.0, "MRR": 1.0, "nDCG@10": 1.0}


def test_chance_is_what_random_orders_give() -> None:
    random = np.random.default_rng(0)
    relations, groups = by_label(["a"] * 4 + ["b"] * 9), np.arange(13)
    means = []
    for _ in range(100):
        vectors = random.normal(size=(13, 40)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ranked = rank(vectors, groups, relations, groups)
        means.append(list(ranked.means().values()))

    np.testing.assert_allclose(np.mean(means, axis=0), list(ranked.chances().values()), atol=0.03)


def test_the_same_work_is_no_proof() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    groups = np.array([0, 0, 1])

    ranked = rank(vectors, np.arange(3), by_label(["a", "a", "a"]), groups)

    assert ranked.means()["P@1"] == 1.0  # by the third item, not by the twin
    assert ranked.chances()["P@1"] == 1.0


def make_batches(*, mined: bool, seed: int = 0) -> FusionBatches:
    labels = ["rare"] * 4 + ["common"] * 20
    features = np.random.default_rng(0).normal(size=(24, 2, 3)).astype(np.float32)
    groups = np.arange(24) // 2
    return FusionBatches(
        features,
        np.arange(24),
        by_label(labels),
        groups,
        6,
        mined,
        seed,
        lambda rows: rows.reshape(len(rows), -1),
    )


@pytest.mark.parametrize("mined", [True, False])
def test_the_same_epoch_has_the_same_batches(mined: bool) -> None:
    one, other = (list(make_batches(mined=mined).epoch(3)) for _ in range(2))

    assert all(torch.equal(a.features, b.features) for a, b in zip(one, other, strict=True))


def test_items_of_one_group_are_no_positives() -> None:
    batches = make_batches(mined=False)

    for batch in batches.epoch(1):
        assert not batch.together.diagonal().any()
        assert batch.together.any(dim=1).sum() >= 6


def test_losses_are_lower_where_what_belongs_together_is_near() -> None:
    together = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    apart = torch.tensor([[False, False, True], [False, False, True], [True, True, False]])
    good = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    bad = torch.tensor([[1.0, 0.1, 0.9], [0.1, 1.0, 0.9], [0.9, 0.9, 1.0]])

    assert infonce(good / 0.1, together, apart) < infonce(bad / 0.1, together, apart)
    assert triplet(good, together, apart, 0.2) == 0
    assert triplet(bad, together, apart, 0.2) == pytest.approx(1.0)


def test_a_batch_without_positives_has_no_loss_and_no_nan() -> None:
    nothing = torch.zeros(2, 2, dtype=torch.bool)

    assert infonce(torch.ones(2, 2), nothing, nothing) == 0
    assert triplet(torch.ones(2, 2), nothing, nothing, 0.2) == 0
