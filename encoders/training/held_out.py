"""How well a two-tower finds the items of held-out questions, in the full corpus."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.training.data import Question
from encoders.two_tower.architecture import Side
from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.towers import Texts, TwoTower

CUT = 10
_ENCODED_AT_ONCE = 1_024
_SCORED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out questions and the corpus to find their items in."""

    queries: RaggedTexts
    questions: Sequence[Question]
    items: RaggedTexts

    def measure(self, towers: TwoTower) -> dict[str, float]:
        """Rank the whole corpus for every question.

        Returns:
            MRR@10, nDCG@10 (every relevant item counts the same) and Recall@10.
        """
        if not self.questions:
            return {}
        return measured(self.questions, list(best_items(towers, self.queries, self.items, CUT)))


def measured(questions: Sequence[Question], ranked: Sequence[NDArray[np.int64]]) -> dict[str, float]:
    """Measure rankings.

    Args:
        questions: at least one.
        ranked: the items that each question found, best first.

    Returns:
        MRR@10, nDCG@10 (every relevant item counts the same) and Recall@10: means over the questions.
    """
    discounts = 1 / np.log2(np.arange(2, CUT + 2))
    values = np.zeros((len(questions), 3))
    for row, (question, items) in enumerate(zip(questions, ranked, strict=True)):
        hits = np.isin(items[:CUT], question.positives)
        ideal = discounts[: len(question.positives)].sum()
        first = 1 / (hits.argmax() + 1) if hits.any() else 0.0
        values[row] = (
            first,
            discounts[: len(hits)][hits].sum() / ideal,
            hits.sum() / len(question.positives),
        )
    means = values.mean(axis=0)
    return {
        f"MRR@{CUT}": float(means[0]),
        f"nDCG@{CUT}": float(means[1]),
        f"Recall@{CUT}": float(means[2]),
    }


@torch.inference_mode()
def best_items(towers: TwoTower, queries: RaggedTexts, items: RaggedTexts, count: int) -> NDArray[np.int64]:
    """Find the nearest items of each query exactly, shape (queries, at most count), best first."""
    towers.eval()
    item_vectors = encode_all(towers, "item", items)
    query_vectors = encode_all(towers, "query", queries)
    found = [
        (part @ item_vectors.T).topk(min(count, len(items))).indices
        for part in torch.split(query_vectors, _SCORED_AT_ONCE)
    ]
    nearest: NDArray[np.int64] = torch.cat(found).numpy()
    return nearest


@torch.inference_mode()
def encode_all(towers: TwoTower, side: Side, texts: RaggedTexts) -> torch.Tensor:
    """Encode many texts, shape (texts, dims)."""
    vectors = torch.empty(len(texts), towers.shape.dims)
    by_length = np.argsort(np.diff(texts.starts), kind="stable")  # little padding within a batch
    for start in range(0, len(texts), _ENCODED_AT_ONCE):
        numbers = by_length[start : start + _ENCODED_AT_ONCE]
        vectors[torch.from_numpy(numbers)] = towers.encode(side, Texts.of(texts.take(numbers)))
    return vectors
