"""The words that an encoder knows, and the rows of its table that stand for a text."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from encoders.two_tower.words import head, split_words
from retrieval.errors import CorruptArtifact

VOCABULARY_FILE = "vocabulary.txt"
PADDING, UNKNOWN = "[PAD]", "[UNK]"
PADDING_ROW, UNKNOWN_ROW = 0, 1
PIECE_PREFIX = "##"  # marks the inside of a word, as in WordPiece
MAX_PIECED_CHARACTERS = 100  # a longer word is unknown; matching it piece by piece would be quadratic
MAX_CACHED_WORDS = 200_000


class Vocabulary:
    """Words and word pieces with a row each; row 0 is padding, row 1 every unknown word.

    A word that has no row of its own is put together from the longest pieces that match from its left.
    Threads may share a vocabulary: the cache is only ever added to or replaced.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        """Take the entries in the order of their rows.

        Raises:
            CorruptArtifact: if padding and unknown are not the first two, or an entry comes twice.
        """
        self.entries = list(entries)
        self._rows = {entry: row for row, entry in enumerate(self.entries)}
        if self.entries[:2] != [PADDING, UNKNOWN]:
            raise CorruptArtifact(f"a vocabulary starts with {PADDING} and {UNKNOWN}")
        if len(self._rows) != len(self.entries):
            raise CorruptArtifact("an entry of the vocabulary comes twice")
        self._has_pieces = any(entry.startswith(PIECE_PREFIX) for entry in self.entries)
        self._cache: dict[str, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, word: str) -> bool:
        return word in self._rows

    def word_rows(self, word: str) -> tuple[int, ...]:
        """Return the rows of one word: its own, those of its pieces, or the unknown row."""
        rows = self._cache.get(word)
        if rows is None:
            rows = self._find(word)
            if len(self._cache) >= MAX_CACHED_WORDS:
                self._cache = {}
            self._cache[word] = rows
        return rows

    def _find(self, word: str) -> tuple[int, ...]:
        own = self._rows.get(word)
        if own is not None:
            return (own,)
        if not self._has_pieces or len(word) > MAX_PIECED_CHARACTERS:
            return (UNKNOWN_ROW,)
        rows: list[int] = []
        start = 0
        while start < len(word):
            prefix = PIECE_PREFIX if start else ""
            for end in range(len(word), start, -1):
                row = self._rows.get(prefix + word[start:end])
                if row is not None:
                    break
            else:
                return (UNKNOWN_ROW,)
            rows.append(row)
            start = end
        return tuple(rows)

    def text_rows(self, text: str, max_words: int) -> list[int]:
        """Return the rows of a text's first `max_words` words (0 = all); never an empty list."""
        cache = self._cache
        rows: list[int] = []
        for word in split_words(head(text, max_words)):
            found = cache.get(word)
            rows += found if found is not None else self.word_rows(word)
        return rows or [UNKNOWN_ROW]

    def to_bytes(self) -> bytes:
        """Serialise: one entry a line, the line's number is the row."""
        return ("\n".join(self.entries) + "\n").encode()

    @classmethod
    def read(cls, file: Path) -> "Vocabulary":
        """Read a vocabulary file.

        Raises:
            CorruptArtifact: if it is none.
        """
        try:
            return cls(file.read_bytes().decode().removesuffix("\n").split("\n"))
        except (OSError, UnicodeDecodeError) as error:
            raise CorruptArtifact(f"{file.name} cannot be read") from error


def count_words(texts: Iterable[str]) -> tuple[dict[str, int], int]:
    """Count in how many texts each word occurs.

    Returns:
        The counts, and the number of texts.
    """
    counts: dict[str, int] = {}
    total = 0
    for text in texts:
        total += 1
        for word in set(split_words(text)):
            counts[word] = counts.get(word, 0) + 1
    return counts, total
