import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import InvalidFilter
from retrieval.filter_text import parse_filter
from retrieval.filters import Exists, Filter, HasId, Match, Range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("year >= 1990", Filter(must=(Range(attribute="year", gte=1990),))),
        ("rating<-1.5e1", Filter(must=(Range(attribute="rating", lt=-15.0),))),
        ("date > '2020-01-01'", Filter(must=(Range(attribute="date", gt="2020-01-01"),))),
        ("genre in ('a', \"b\")", Filter(must=(Match("genre", ("a", "b")),))),
        ("genre not in ('a')", Filter(must_not=(Match("genre", ("a",)),))),
        ("name = 'it''s'", Filter(must=(Match("name", ("it's",)),))),
        ("seen != true", Filter(must_not=(Match("seen", (True,)),))),
        ("not seen != true", Filter(must=(Match("seen", (True,)),))),
        ("NOT EXISTS(x)", Filter(must_not=(Exists("x"),))),
        ("id in ('q1', 'q2')", Filter(must=(HasId(("q1", "q2")),))),
        ("`id` = 'q1'", Filter(must=(Match("id", ("q1",)),))),
        ("`two words` = 1", Filter(must=(Match("two words", (1,)),))),
        ("année = 1", Filter(must=(Match("année", (1,)),))),
        ("a = 1 or b = 2", Filter(should=(Match("a", (1,)), Match("b", (2,))))),
        (
            "a = 1 and not (b = 2 or c = 3)",
            Filter(
                must=(Match("a", (1,)),),
                must_not=(Filter(should=(Match("b", (2,)), Match("c", (3,)))),),
            ),
        ),
        (
            "a = 1 or b = 2 and c = 3",
            Filter(should=(Match("a", (1,)), Filter(must=(Match("b", (2,)), Match("c", (3,)))))),
        ),
    ],
)
def test_a_filter_reads_as_written(text: str, expected: Filter) -> None:
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at character 1: expected the name of an attribute"),
        ("year", "at character 5: expected a comparison"),
        ("year >=", "at character 8: expected a value"),
        ("year >= true", "at character 9: expected a number or text"),
        ("year >= 1990 1991", "at character 14: expected 'and', 'or' or the end"),
        ("genre in 'a'", "at character 10: expected '\\('"),
        ("genre in ('a'", "at character 14: expected '\\)'"),
        ("genre = drama", "at character 9: expected a value"),
        ("year ; 1", "at character 6: expected a name"),
        ("name = 'open", "at character 8: expected a name"),
        ("id > 'a'", "expected = or in after id"),
        ("id = 3", "expected ids in quotes"),
        ("x = 1e999", "expected a finite number"),
        ("(" * 40 + "x = 1" + ")" * 40, "at most 16 levels"),
    ],
)
def test_an_unreadable_filter_says_where(text: str, message: str) -> None:
    with pytest.raises(InvalidFilter, match=message):
        parse_filter(text)


@given(st.text() | st.text(alphabet="ab'`\"()=<>!,. 1-enot", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidFilter):
        parse_filter(text)
