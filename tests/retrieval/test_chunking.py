import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.chunking import Chunking, count_words, parse_chunking, split
from retrieval.errors import InvalidInput

CHUNKINGS = st.integers(1, 12).flatmap(
    lambda words: st.builds(Chunking, st.just(words), st.integers(0, words - 1))
)
TEXTS = st.text(st.sampled_from("ab .!?\n\"'猫犬。é"), max_size=200) | st.text(max_size=200)


def test_a_short_text_is_one_span() -> None:
    assert split("one two", Chunking(2)) == [(0, 7)]


def test_a_blank_text_has_no_span() -> None:
    assert split(" \n", Chunking(2)) == []


def test_spans_end_at_sentence_ends() -> None:
    text = 'He came. "She left!" They stayed on. Nobody knew why.'

    parts = [text[start:end] for start, end in split(text, Chunking(5))]

    assert parts == ['He came. "She left!"', "They stayed on.", "Nobody knew why."]


def test_neighbouring_spans_overlap_by_whole_sentences() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve."

    parts = [text[start:end] for start, end in split(text, Chunking(7, 4))]

    assert parts == [
        "One two three. Four five six.",
        "Four five six. Seven eight nine.",
        "Seven eight nine. Ten eleven twelve.",
    ]


def test_a_sentence_longer_than_a_span_is_cut_between_words() -> None:
    assert split("a b c d e", Chunking(2)) == [(0, 3), (4, 7), (8, 9)]


def test_chinese_counts_by_character() -> None:
    assert count_words("我喜欢猫。") == 5


def test_an_endless_word_is_cut() -> None:
    assert len(split("x" * 1000, Chunking(2))) == 5


@given(TEXTS, CHUNKINGS)
def test_spans_cover_every_word_in_order_within_the_limit(text: str, chunking: Chunking) -> None:
    spans = split(text, chunking)

    covered: set[int] = set()
    for start, end in spans:
        assert count_words(text[start:end]) <= chunking.words
        covered.update(range(start, end))
    assert all(place in covered for place, character in enumerate(text) if not character.isspace())
    assert spans == sorted(set(spans))
    assert all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(spans))


@given(TEXTS, CHUNKINGS)
def test_neighbours_share_at_most_the_overlap(text: str, chunking: Chunking) -> None:
    spans = split(text, chunking)

    for (_, end), (start, _) in itertools.pairwise(spans):
        assert count_words(text[start:end]) <= chunking.overlap


@pytest.mark.parametrize("text", ["", "0", "-1", "10:10", "10:-1", "a", "10:2:3", "1e3", "99999999", "٣"])
def test_senseless_chunking_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="chunking: expected"):
        parse_chunking(text)


def test_overlap_may_be_left_out() -> None:
    assert parse_chunking("180") == Chunking(180, 0)
