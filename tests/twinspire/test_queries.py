"""What a search may ask, before anything is sent."""

from dataclasses import fields

import pytest

from twinspire import Example, RetryPolicy, SearchQuery, errors
from twinspire.messages import LARGEST_EXACT_INTEGER, attributes_message, vector_message
from twinspire.queries import SearchOptions, as_query


def test_the_keywords_of_search_are_the_fields_of_a_query() -> None:
    names = {field.name for field in fields(SearchQuery)}

    assert set(SearchOptions.__annotations__) == names - {"text"}


def test_a_whole_query_takes_no_keywords_beside_it() -> None:
    with pytest.raises(errors.InvalidInput, match="got limit beside it"):
        as_query(SearchQuery(text="x"), {"limit": 3})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "got none"),
        ({"vector": [1.0], "item_id": "x"}, "got vector and item_id"),
        ({"item_id": "x", "hybrid": True}, "hybrid search needs text"),
        ({"vector": [1.0], "negatives": ["x"]}, "negatives need positives"),
    ],
)
def test_a_query_asks_by_exactly_one_thing(options: SearchOptions, expected: str) -> None:
    with pytest.raises(errors.InvalidInput, match=expected):
        as_query(None, options)


def test_an_example_is_exactly_one_thing() -> None:
    with pytest.raises(errors.InvalidInput, match="got 2 of them"):
        Example(item_id="a", text="b")


@pytest.mark.parametrize("vector", [[[1.0, 2.0]], ["a"], 3.0])
def test_a_vector_is_one_row_of_numbers(vector: object) -> None:
    with pytest.raises(errors.InvalidInput, match=r"expected .*row of numbers"):
        vector_message(vector)  # type: ignore[arg-type]


def test_the_largest_exact_integer_travels() -> None:
    message = attributes_message({"n": LARGEST_EXACT_INTEGER})

    assert message["n"] == LARGEST_EXACT_INTEGER


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"first_delay_s": 0}, {"max_delay_s": 0.01}])
def test_a_retry_policy_that_makes_no_sense_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        RetryPolicy(**settings)  # type: ignore[arg-type]


def test_pauses_grow_and_end() -> None:
    policy = RetryPolicy(attempts=4, first_delay_s=1.0, max_delay_s=3.0)
    error = errors.Unavailable("gone")

    pauses = [policy.delay_s(error, attempt) for attempt in (1, 2, 3, 4)]

    assert pauses[3] is None
    for pause, most in zip(pauses[:3], (1.0, 2.0, 3.0), strict=True):
        assert pause is not None
        assert most / 2 <= pause <= most
