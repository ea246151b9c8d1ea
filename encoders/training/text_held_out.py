"""How well a text encoder in training finds the items of held-out questions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.training.data import Question
from encoders.training.held_out import CUT, measured
from encoders.training.text_objective import CorpusVectors, TextTowers
from encoders.two_tower.ragged import RaggedTexts

_ENCODED_AT_ONCE = 1_024
_SCORED_AT_ONCE = 256
_SEGMENTS_PER_ITEM = 8  # looked at, so that ten items come of them even if some are long


@dataclass(frozen=True, slots=True)
class HeldOutInCorpus:
    """Held-out questions, searched in the vectors of the whole corpus."""

    queries: RaggedTexts
    questions: Sequence[Question]
    corpus: CorpusVectors

    @torch.inference_mode()
    def measure(self, towers: TextTowers) -> dict[str, float]:
        """Rank the whole corpus for every question; an item counts by its best segment."""
        if not self.questions:
            return {}
        towers.eval()
        ranked: list[NDArray[np.int64]] = []
        count = min(CUT * _SEGMENTS_PER_ITEM, len(self.corpus.owners))
        for part in torch.split(_encode_all(towers, self.queries, "query"), _SCORED_AT_ONCE):
            segments = (part @ self.corpus.vectors.T).topk(count).indices.cpu().numpy()
            for row in self.corpus.owners[segments]:
                _, first = np.unique(row, return_index=True)
                ranked.append(row[np.sort(first)][:CUT])
        return measured(self.questions, ranked)


@dataclass(frozen=True, slots=True)
class HeldOutInSample:
    """Some held-out questions, searched in a sample of the corpus that holds all of their items."""

    queries: RaggedTexts
    questions: Sequence[Question]
    items: RaggedTexts  # the sample
    numbers: NDArray[np.int64]  # of its items in the corpus

    @classmethod
    def draw(
        cls, queries: RaggedTexts, questions: Sequence[Question], corpus: RaggedTexts, count: int, seed: int
    ) -> "HeldOutInSample":
        """Take questions until their own items, right and wrong, are half of `count`; fill up with others."""
        random = np.random.default_rng([seed, 4])
        own: dict[int, None] = {}
        chosen: list[int] = []
        for place in random.permutation(len(questions)).tolist():
            if chosen and len(own) >= count // 2:
                break
            chosen.append(place)
            own |= dict.fromkeys([*questions[place].positives.tolist(), *questions[place].negatives.tolist()])
        others = random.permutation(len(corpus)).tolist()
        numbers = list(own | dict.fromkeys(others))[: max(count, len(own))]
        return cls(
            queries.take(chosen),
            [questions[place] for place in chosen],
            corpus.take(numbers),
            np.array(numbers, np.int64),
        )

    @torch.inference_mode()
    def measure(self, towers: TextTowers) -> dict[str, float]:
        """Rank the sample for every question."""
        if not self.questions:
            return {}
        towers.eval()
        items = _encode_all(towers, self.items, "item")
        best = (_encode_all(towers, self.queries, "query") @ items.T).topk(min(CUT, len(items))).indices
        return measured(self.questions, list(self.numbers[best.cpu().numpy()]))


def _encode_all(towers: TextTowers, texts: RaggedTexts, side: str) -> torch.Tensor:
    parts = [
        towers.encode(
            "query" if side == "query" else "item",
            texts.take(range(at, min(at + _ENCODED_AT_ONCE, len(texts)))),
        )
        for at in range(0, len(texts), _ENCODED_AT_ONCE)
    ]
    return torch.cat(parts)
