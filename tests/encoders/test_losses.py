"""Losses and batches: what is pulled, what is pushed, and what is left alone."""

import numpy as np
import pytest
import torch

from encoders.training.batches import CorpusBatches, QuestionBatches
from encoders.training.data import Question
from encoders.training.losses import contrastive, margin_contrastive, triplet
from encoders.two_tower.ragged import RaggedTexts

TARGETS = torch.tensor([0, 1])
NOTHING = torch.zeros(2, 3, dtype=torch.bool)


def losses(scores: torch.Tensor, forbidden: torch.Tensor) -> list[float]:
    return [
        float(contrastive(scores, TARGETS, forbidden, torch.tensor(10.0))),
        float(margin_contrastive(scores, TARGETS, forbidden, 0.2)),
        float(triplet(scores, TARGETS, forbidden, 0.2)),
    ]


def test_perfect_scores_cost_nothing() -> None:
    scores = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]])

    assert losses(scores, NOTHING) == pytest.approx([0, 0, 0], abs=1e-6)


def test_a_false_negative_costs_nothing() -> None:
    scores = torch.tensor([[1.0, -1.0, 0.99], [-1.0, 1.0, -1.0]])
    forbidden = NOTHING.clone()
    forbidden[0, 2] = True

    assert min(losses(scores, NOTHING)) > 0.1
    assert losses(scores, forbidden) == pytest.approx([0, 0, 0], abs=1e-6)


def test_losses_have_the_values_of_their_formulas() -> None:
    scores = torch.tensor([[0.5, 0.4, 0.0], [0.1, 0.9, 0.3]])

    assert losses(scores, NOTHING) == pytest.approx(
        [
            np.mean(
                [-np.log(np.exp(5) / np.exp([5, 4, 0]).sum()), -np.log(np.exp(9) / np.exp([1, 9, 3]).sum())]
            ),
            (0.5 + 0.1) / 2 + (0.2 + 0.1) / 2,
            0.1,
        ],
        abs=1e-5,
    )


ITEMS = RaggedTexts.pack([[10 + n] * 20 for n in range(9)])
QUESTIONS = [
    Question("a", np.array([0, 1]), np.array([4])),
    Question("b", np.array([1, 2]), np.array([5, 6])),
    Question("c", np.array([3]), np.array([], np.int64)),
]


def batches(**changes: object) -> QuestionBatches:
    values = {
        "queries": RaggedTexts.pack([[1], [2], [3]]),
        "items": ITEMS,
        "questions": QUESTIONS,
        "size": 8,
        "own_negatives": 1,
        "mined_negatives": 1,
        "seed": 0,
    }
    return QuestionBatches(**(values | changes))  # type: ignore[arg-type]


def test_every_pair_comes_once_an_epoch() -> None:
    (batch,) = batches().epoch(1)
    pairs = [
        (int(batch.queries.text(row)[0]), int(batch.items.text(int(target))[0]) - 10)
        for row, target in enumerate(batch.targets)
    ]

    assert sorted(pairs) == [(1, 0), (1, 1), (2, 1), (2, 2), (3, 3)]


def test_what_is_relevant_to_a_query_is_never_its_negative() -> None:
    (batch,) = batches().epoch(1)
    columns = [int(batch.items.text(column)[0]) - 10 for column in range(len(batch.items))]
    for row, target in enumerate(batch.targets):
        relevant = set(QUESTIONS[int(batch.queries.text(row)[0]) - 1].positives.tolist())
        allowed = {columns[c] for c in range(len(columns)) if not batch.forbidden[row, c]} - {columns[target]}
        assert not allowed & relevant


def test_an_item_is_in_a_batch_once() -> None:
    (batch,) = batches().epoch(1)
    columns = [int(batch.items.text(column)[0]) for column in range(len(batch.items))]

    assert len(columns) == len(set(columns))


def test_own_and_mined_negatives_are_candidates() -> None:
    mined = [np.array([7]), np.array([8]), np.array([], np.int64)]
    (batch,) = batches(mined=mined, own_negatives=5).epoch(1)
    columns = {int(batch.items.text(column)[0]) - 10 for column in range(len(batch.items))}

    assert columns == {0, 1, 2, 3, 4, 5, 6, 7, 8}


@pytest.mark.parametrize("source", [batches(), CorpusBatches(ITEMS, 4, 3, seed=0)])
def test_an_epoch_is_the_same_every_time_and_unlike_the_next(source: QuestionBatches | CorpusBatches) -> None:
    first, again, other = ([batch.items.rows.tolist() for batch in source.epoch(n)] for n in (1, 1, 2))

    assert first == again != other


def test_a_span_and_the_rest_make_up_the_text() -> None:
    texts = RaggedTexts.pack([list(range(100)), list(range(100))])
    (batch,) = CorpusBatches(texts, 2, 1, seed=0).epoch(1)
    span, rest = batch.queries.text(0).tolist(), batch.items.text(0).tolist()

    assert sorted(span + rest) == list(range(100))
    assert span == list(range(span[0], span[-1] + 1))
