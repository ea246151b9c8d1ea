"""Words, vocabularies and what becomes of what they do not know."""

from pathlib import Path

import pytest

from encoders.two_tower.vocabulary import PADDING, PADDING_ROW, UNKNOWN, UNKNOWN_ROW, Vocabulary
from encoders.two_tower.words import head, is_longer, split_words

VOCABULARY = Vocabulary([PADDING, UNKNOWN, "ship", "##wreck", "##s", "wreck"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The SHIP's log", ["the", "ship", "'", "s", "log"]),
        ("café CAFÉ cafe\u0301", ["cafe", "cafe", "cafe"]),
        ("東京 tower", ["東", "京", "tower"]),
        ("ab\x00cd\tef", ["ab", "cd", "ef"]),
        ("naïve\u200bjoin", ["naive", "join"]),
        ("Ελλάδα", ["ελλαδα"]),
        ("🚢!", ["🚢", "!"]),
        ("", []),
    ],
)
def test_text_is_cut_into_plain_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_ascii_text_is_cut_the_same_on_both_paths() -> None:
    text = "".join(chr(code) for code in range(32, 127)) + " snake_case 3.14"

    assert split_words(text) == split_words(text + " é")[:-1]


def test_a_word_without_a_row_is_put_together_from_pieces() -> None:
    assert VOCABULARY.text_rows("shipwrecks", 0) == [2, 3, 4]


def test_a_word_that_no_pieces_make_is_unknown_and_not_a_real_word() -> None:
    assert VOCABULARY.text_rows("submarine", 0) == [UNKNOWN_ROW]


def test_no_text_ever_reads_the_padding_row() -> None:
    assert PADDING_ROW not in VOCABULARY.text_rows("[PAD] pad ship \x00", 0)


def test_a_text_without_words_is_one_unknown_word() -> None:
    assert VOCABULARY.text_rows("\u200b", 0) == [UNKNOWN_ROW]


def test_only_the_first_words_are_read() -> None:
    assert VOCABULARY.text_rows("ship wreck ship", 2) == [2, 5]


def test_a_text_without_blanks_is_cut_too() -> None:
    assert is_longer("東" * 1_000, 10)
    assert len(head("東" * 1_000, 10)) == 320


def test_a_vocabulary_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "v.txt"
    entries = [PADDING, UNKNOWN, "a\u2028b", "x\x85y", "c\rd", "##é"]
    file.write_bytes(Vocabulary(entries).to_bytes())

    assert Vocabulary.read(file).entries == entries
