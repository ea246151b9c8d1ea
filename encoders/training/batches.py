"""Batches for the two stages: the corpus against itself, and questions against their items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.training.data import Question
from encoders.training.objective import PairBatch
from encoders.two_tower.ragged import RaggedTexts

SPAN_ROWS = (6, 24)  # how long a made-up query is, in table rows; real questions are about as long
MIN_TEXT_ROWS = 8  # a shorter text is its own query


@dataclass(frozen=True, slots=True)
class CorpusBatches:
    """A span of a text as the query, the rest of the text as the item.

    The span is cut out of the text, so that the towers cannot just compare words.

    Source: the inverse cloze task (Lee et al. 2019, arXiv:1906.00300).
    """

    texts: RaggedTexts
    size: int
    steps_per_epoch: int
    seed: int

    def epoch(self, number: int) -> Iterator[PairBatch]:
        """Make the batches of an epoch."""
        random = np.random.default_rng([self.seed, 1, number])
        size = min(self.size, len(self.texts))
        targets = torch.arange(size)
        forbidden = torch.zeros(size, size, dtype=torch.bool)
        for _ in range(self.steps_per_epoch):
            chosen = random.choice(len(self.texts), size, replace=False)
            pairs = [_cut(self.texts.text(number), random) for number in chosen]
            yield PairBatch(
                RaggedTexts.pack([span for span, _ in pairs]),
                RaggedTexts.pack([rest for _, rest in pairs]),
                targets,
                forbidden,
                both_ways=True,
            )


def _cut(text: NDArray[np.int32], random: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    if len(text) < MIN_TEXT_ROWS:
        return text, text
    length = int(random.integers(SPAN_ROWS[0], min(SPAN_ROWS[1], len(text) - 1) + 1))
    start = int(random.integers(0, len(text) - length + 1))
    return text[start : start + length], np.concatenate([text[:start], text[start + length :]])


@dataclass(frozen=True, slots=True)
class QuestionBatches:
    """Questions with one of their items each, and negatives of their own.

    Every item in the batch is a candidate for every question; other relevant items of a question are
    forbidden, not negatives.
    """

    queries: RaggedTexts  # the questions' texts
    items: RaggedTexts  # the corpus
    questions: Sequence[Question]
    size: int
    own_negatives: int  # a question, drawn from those that were shown with it
    mined_negatives: int
    seed: int
    mined: Sequence[NDArray[np.int64]] = ()  # a question, what the index confuses with its items
    _pairs: list[tuple[int, int]] = field(init=False)
    _relevant: list[frozenset[int]] = field(init=False)

    def __post_init__(self) -> None:
        """List the pairs."""
        relevant = [frozenset(question.positives.tolist()) for question in self.questions]
        object.__setattr__(self, "_relevant", relevant)
        pairs = [(number, item) for number, items in enumerate(relevant) for item in sorted(items)]
        object.__setattr__(self, "_pairs", pairs)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self._pairs) // self.size)

    def epoch(self, number: int) -> Iterator[PairBatch]:
        """Make the batches of an epoch."""
        random = np.random.default_rng([self.seed, 2, number])
        order = random.permutation(len(self._pairs))
        for start in range(0, len(order), self.size):
            yield self._batch([self._pairs[i] for i in order[start : start + self.size]], random)

    def _batch(self, pairs: list[tuple[int, int]], random: np.random.Generator) -> PairBatch:
        candidates = [item for _, item in pairs]
        for question, _ in pairs:
            candidates += _draw(self.questions[question].negatives, self.own_negatives, random)
            if self.mined:
                candidates += _draw(self.mined[question], self.mined_negatives, random)
        column = {item: place for place, item in enumerate(dict.fromkeys(candidates))}
        forbidden = torch.zeros(len(pairs), len(column), dtype=torch.bool)
        for row, (question, item) in enumerate(pairs):
            for other in self._relevant[question]:
                if other != item and other in column:
                    forbidden[row, column[other]] = True
        return PairBatch(
            self.queries.take([question for question, _ in pairs]),
            self.items.take(list(column)),
            torch.tensor([column[item] for _, item in pairs]),
            forbidden,
        )


def _draw(items: NDArray[np.int64], count: int, random: np.random.Generator) -> list[int]:
    if count == 0 or len(items) == 0:
        return []
    drawn: list[int] = random.choice(items, min(count, len(items)), replace=False).tolist()
    return drawn
