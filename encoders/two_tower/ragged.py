"""Many texts as table rows in two flat arrays: a corpus, at four bytes a word."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RaggedTexts:
    """Texts of different lengths, one after the other."""

    rows: NDArray[np.int32]  # shape (total,)
    starts: NDArray[np.int64]  # where each text begins, and the end of the last; shape (texts + 1,)

    @classmethod
    def pack(cls, texts: Sequence[Sequence[int] | NDArray[np.int32]]) -> "RaggedTexts":
        """Pack lists of table rows.

        >>> RaggedTexts.pack([[7, 8], [9]]).text(1).tolist()
        [9]
        """
        starts = _starts([len(text) for text in texts])
        rows = np.fromiter(chain.from_iterable(texts), np.int32, count=int(starts[-1]))
        return cls(rows, starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def text(self, number: int) -> NDArray[np.int32]:
        """Return the table rows of one text."""
        return self.rows[self.starts[number] : self.starts[number + 1]]

    def take(self, numbers: Iterable[int] | NDArray[np.int64]) -> "RaggedTexts":
        """Gather some of the texts, in the order asked for."""
        wanted = np.asarray(numbers, np.int64)
        first = self.starts[wanted]
        lengths = self.starts[wanted + 1] - first
        starts = _starts(lengths)
        return RaggedTexts(self.rows[np.arange(starts[-1]) + np.repeat(first - starts[:-1], lengths)], starts)


def _starts(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts
