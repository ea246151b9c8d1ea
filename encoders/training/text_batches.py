"""Batches for fine-tuning the query side alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.training.data import Question
from encoders.training.text_objective import CorpusBatch
from encoders.two_tower.ragged import RaggedTexts


@dataclass(frozen=True, slots=True)
class CorpusBatches:
    """Questions with their items; the corpus itself gives the negatives."""

    queries: RaggedTexts  # the questions' texts
    questions: Sequence[Question]
    size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self.questions) // self.size)

    def epoch(self, number: int) -> Iterator[CorpusBatch]:
        """Make the batches of an epoch."""
        order = np.random.default_rng([self.seed, 3, number]).permutation(len(self.questions))
        for start in range(0, len(order), self.size):
            chosen = order[start : start + self.size]
            yield CorpusBatch(
                self.queries.take(chosen), [self.questions[place].positives.tolist() for place in chosen]
            )
