"""Cutting text into words, the same way when training and when serving."""

import re
import unicodedata

SPLITTER = "words-1"  # on the card, so that another way of cutting gets another fingerprint

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_ASCII_WORDS = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_WORDS = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+|[^\s\w\ufe00-\ufe0f\u200b-\u200f\u2060\ufeff]|_")
_ACCENTS = re.compile(r"[\u0300-\u036f]+")


def split_words(text: str) -> list[str]:
    """Cut a text into lower-case words without accents, Chinese characters and punctuation marks.

    >>> split_words("Où est l'Éléphant, 2nd?")
    ['ou', 'est', 'l', "'", 'elephant', ',', '2nd', '?']
    """
    text = text.lower()
    if text.isascii():
        return _ASCII_WORDS.findall(text)
    return _WORDS.findall(_ACCENTS.sub("", unicodedata.normalize("NFD", text)))


def is_longer(text: str, max_words: int) -> bool:
    """Tell whether a text has more blank-separated words than `max_words`; 0 = no limit."""
    if max_words == 0 or len(text) <= max_words:
        return False
    return len(text) > max_words * MAX_CHARACTERS_PER_WORD or len(text.split()) > max_words


def head(text: str, max_words: int) -> str:
    """Return the beginning of a text that an encoder with this limit reads.

    >>> head("one two three", 2)
    'one two'
    """
    if not is_longer(text, max_words):
        return text
    return " ".join(text[: max_words * MAX_CHARACTERS_PER_WORD].split()[:max_words])


# A text without blanks (Chinese, base64) would otherwise be one word, whatever its length.
MAX_CHARACTERS_PER_WORD = 32
