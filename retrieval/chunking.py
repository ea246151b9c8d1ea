"""Cutting long texts into overlapping spans of words, at sentence ends where possible."""

import re
from dataclasses import dataclass

from retrieval.errors import InvalidInput

# A word is a run without blanks; Chinese and Japanese, written without blanks, count by character. The cap
# on length keeps a text without any blank (base64, say) from being one endless word.
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\s\u2e80-\u9fff\uf900-\ufaff]{1,100}")
_IDEOGRAPH = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]")
_LONGEST_WORD = 100
_SENTENCE_END = re.compile(r"""[.!?\u2026\u3002\uff01\uff1f]["'\u201d\u2019)\]\u300d\u300f]*$""")


@dataclass(frozen=True, slots=True)
class Chunking:
    """How long texts are cut.

    Attributes:
        words: the most words that one span holds.
        overlap: the words that a span shares with the one before.
    """

    words: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.words < 1 or not 0 <= self.overlap < self.words:
            raise InvalidInput(
                f"chunking: expected words >= 1 and 0 <= overlap < words, got {self.words}:{self.overlap}",
                field="chunking",
            )


def parse_chunking(text: str) -> Chunking:
    """Read `WORDS` or `WORDS:OVERLAP`.

    Raises:
        InvalidInput: if it is neither, or does not make sense.

    >>> parse_chunking("180:40")
    Chunking(words=180, overlap=40)
    """
    match = re.fullmatch(r"(\d{1,7})(?::(\d{1,7}))?", text.strip(), re.ASCII)
    if not match:
        raise InvalidInput(
            f"chunking: expected WORDS:OVERLAP, such as 180:40, got {text!r}", field="chunking"
        )
    return Chunking(int(match[1]), int(match[2] or 0))


def count_words(text: str) -> int:
    """Count words as `split` does.

    >>> count_words("two  words")
    2
    """
    if _blanks_part_words(text):  # the same count, several times as fast: it is asked of every item
        runs = text.split()
        if max(map(len, runs), default=0) <= _LONGEST_WORD:
            return len(runs)
    return sum(1 for _ in _WORD.finditer(text))


def is_longer(text: str, max_words: int) -> bool:
    """Tell whether a text has more words than that, as `count_words` counts.

    >>> is_longer("one two", 1), is_longer("one two", 2)
    (True, False)
    """
    # Where the space is the only blank, its count is a bound that is found in a moment.
    only_spaces = text.isascii() and text.isprintable()
    if only_spaces and text.count(" ") + len(text) // _LONGEST_WORD < max_words:
        return False
    return count_words(text) > max_words


def _blanks_part_words(text: str) -> bool:
    return text.isascii() or not _IDEOGRAPH.search(text)


def split(text: str, chunking: Chunking) -> list[tuple[int, int]]:
    """Cut a text into spans of at most `chunking.words` words, which together cover every word.

    A span ends at the last sentence end in its second half, if there is one, else after its last word.

    Returns:
        Character spans, ascending: `text[start:end]`. One, of the whole text, if that is short enough.

    >>> split("One two. Three four. Five", Chunking(3))
    [(0, 8), (9, 25)]
    """
    words = [match.span() for match in _WORD.finditer(text)]
    if len(words) <= chunking.words:
        return [(0, len(text))] if words else []
    ends = [bool(_SENTENCE_END.search(text[start:end])) for start, end in words]
    spans = []
    first = 0
    while True:
        last = _last_word(ends, first, chunking)
        spans.append((words[first][0], words[last - 1][1]))
        if last == len(words):
            return spans
        first = _next_start(ends, first, last, chunking)


def _last_word(ends: list[bool], first: int, chunking: Chunking) -> int:
    """Return the position after the last word of the span that begins at `first`."""
    limit = first + chunking.words
    if limit >= len(ends):
        return len(ends)
    # The span must outlast its overlap, or the next one would begin no later than this one.
    shortest = first + max(chunking.words // 2, chunking.overlap) + 1
    return next((at for at in range(limit, shortest - 1, -1) if ends[at - 1]), limit)


def _next_start(ends: list[bool], first: int, last: int, chunking: Chunking) -> int:
    """Begin `overlap` words back, or at the first sentence that begins after that."""
    earliest = max(last - chunking.overlap, first + 1)
    return next((at for at in range(earliest, last) if ends[at - 1]), earliest)
