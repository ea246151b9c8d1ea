"""Batches for fine-tuning the query side alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from encoders.training.data import Question
from encoders.training.text_objective import CorpusBatch
from encoders.two_tower.ragged import RaggedTexts


@dataclass(frozen=True, slots=True)
class CorpusBatches:
    """Questions with one of their items each; the corpus itself gives the negatives."""

    queries: RaggedTexts  # the questions' texts
    questions: Sequence[Question]
    size: int
    seed: int
    _pairs: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        """List the pairs."""
        pairs = [
            (number, int(item))
            for number, question in enumerate(self.questions)
            for item in question.positives
        ]
        object.__setattr__(self, "_pairs", pairs)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self._pairs) // self.size)

    def epoch(self, number: int) -> Iterator[CorpusBatch]:
        """Make the batches of an epoch."""
        order = np.random.default_rng([self.seed, 3, number]).permutation(len(self._pairs))
        for start in range(0, len(order), self.size):
            pairs = [self._pairs[place] for place in order[start : start + self.size]]
            yield CorpusBatch(
                self.queries.take([question for question, _ in pairs]),
                [item for _, item in pairs],
                [[int(i) for i in self.questions[q].positives if i != item] for q, item in pairs],
            )
