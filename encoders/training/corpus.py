"""A collection's texts as word numbers: read once, then mapped to any vocabulary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.vocabulary import UNKNOWN_ROW, Vocabulary
from encoders.two_tower.words import head, split_words


class _Numbers(dict[str, int]):
    """Gives each new word the next number."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


@dataclass(frozen=True, slots=True)
class WordCorpus:
    """Texts as numbers of distinct words, in the order in which the words first came."""

    words: Sequence[str]
    texts: RaggedTexts  # word numbers, not table rows

    @classmethod
    def read(cls, texts: Iterable[str], max_words: int) -> "WordCorpus":
        """Cut texts into words; of each text only the first `max_words` words (0 = all)."""
        numbers = _Numbers()
        packed: list[NDArray[np.int32]] = []
        for text in texts:
            words = split_words(head(text, max_words))
            packed.append(np.fromiter(map(numbers.__getitem__, words), np.int32, len(words)))
        starts = np.zeros(len(packed) + 1, np.int64)
        np.cumsum([len(text) for text in packed], out=starts[1:])
        rows = np.concatenate(packed) if packed else np.zeros(0, np.int32)
        return cls(list(numbers), RaggedTexts(rows, starts))

    def text_counts(self) -> NDArray[np.int64]:
        """Count in how many texts each word occurs, shape (words,)."""
        return count_texts(self.texts, len(self.words))

    def to_rows(self, vocabulary: Vocabulary) -> RaggedTexts:
        """Turn the words into the rows of a vocabulary, just as serving does."""
        per_word = RaggedTexts.pack([vocabulary.word_rows(word) for word in self.words])
        flat = per_word.take(self.texts.rows)  # the rows of every word of every text
        starts = flat.starts[self.texts.starts]
        if (np.diff(starts) > 0).all():
            return RaggedTexts(flat.rows, starts)
        texts = RaggedTexts(flat.rows, starts)
        return RaggedTexts.pack(
            [texts.text(i) if len(texts.text(i)) else [UNKNOWN_ROW] for i in range(len(texts))]
        )


def count_texts(texts: RaggedTexts, size: int) -> NDArray[np.int64]:
    """Count in how many texts each number below `size` occurs, shape (size,)."""
    distinct = [np.unique(texts.text(number)) for number in range(len(texts))]
    return np.bincount(np.concatenate(distinct), minlength=size)
