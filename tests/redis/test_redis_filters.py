"""FILTER expressions against the meaning of filters, on a real Redis."""

import json
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.filters import Condition, Exists, Filter, HasId, Match, Range
from retrieval.items import Item, delete_items, ids_matching, upsert_items
from retrieval.redis_filters import compile_filter, is_number, matches, shown_attributes
from retrieval.redis_server import Command, RedisServer
from retrieval.workspace import Workspace

NAMES = st.sampled_from(["a", "b", "a b", 'é"quote', "t", "n", "#", "x" * 40])
TEXTS = st.sampled_from(["", "x", "X", "10", "x y", "é", "'", '"', "2026-01-01", "2026-02-01T10:00:00Z"])
INTEGERS = (
    st.integers(-(1 << 63), (1 << 63) - 1)
    | st.integers(-3, 3)
    | st.sampled_from([(1 << 53) - 1, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1])
)
NUMBERS = INTEGERS | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.booleans() | NUMBERS | TEXTS
ATTRIBUTES = st.dictionaries(NAMES, st.none() | SCALARS | st.lists(SCALARS, max_size=3), max_size=4)
IDS = ["1", "two", "é"]
BOUNDS = st.sampled_from(["gt", "gte", "lt", "lte"])
RANGES = st.builds(
    lambda name, bounds: Range(attribute=name, **bounds),
    NAMES,
    st.dictionaries(BOUNDS, NUMBERS, min_size=1) | st.dictionaries(BOUNDS, TEXTS, min_size=1),
)
LEAVES: st.SearchStrategy[Condition] = (
    st.builds(Match, NAMES, st.lists(SCALARS, min_size=1, max_size=3).map(tuple))
    | RANGES
    | st.builds(Exists, NAMES)
    | st.builds(HasId, st.lists(st.sampled_from([*IDS, "other"]), min_size=1, max_size=3).map(tuple))
)


def nodes(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Filter]:
    some = st.lists(inner, max_size=3).map(tuple)
    return st.builds(
        lambda must, should, must_not, least: Filter(
            must=must, should=should, must_not=must_not, min_should=None if least > len(should) else least
        ),
        some,
        some,
        some,
        st.integers(0, 4),
    )


FILTERS = nodes(st.recursive(LEAVES, nodes, max_leaves=5))


def ask_redis(server: RedisServer, filter: Filter, items: list[Item], numeric: set[str]) -> set[str]:
    key, vector = "filters", np.array([1, 0], dtype="<f4").tobytes()
    commands: list[Command] = [("UNLINK", key)]
    for place, item in enumerate(items):
        shown = shown_attributes(item.id, item.attributes, numeric)
        commands.append(("VADD", key, "FP32", vector, str(place), "NOQUANT", "SETATTR", shown))
    text = compile_filter(filter, numeric).text
    *_, found = server.run([*commands, ("VSIM", key, "FP32", vector, "COUNT", 100, "TRUTH", "FILTER", text)])
    return {items[int(name)].id for name in found}


def numeric_names(items: list[Item]) -> set[str]:
    return {name for item in items for name, value in item.attributes.items() if is_number(value)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(rows=st.lists(ATTRIBUTES, min_size=1, max_size=3), filter=FILTERS, known=st.booleans())
def test_the_same_tree_gives_the_same_ids_as_sql(
    rows: list[dict[str, Any]], filter: Filter, known: bool, workspace: Workspace, server: RedisServer
) -> None:
    delete_items(workspace, "c", IDS)
    items = [Item(id, text="x", attributes=row) for id, row in zip(IDS, rows, strict=False)]
    upsert_items(workspace, "c", items)
    numeric = numeric_names(items) if known else set()

    expected = set(ids_matching(workspace, "c", filter))

    found = ask_redis(server, filter, items, numeric)
    assert found >= expected
    if compile_filter(filter, numeric).exact:
        assert found == expected
    assert {item.id for item in items if matches(filter, item.id, dict(item.attributes))} == expected


def test_a_filter_on_numbers_and_texts_is_exact() -> None:
    tree = Filter(must=(Match("genre", ("jazz",)),), must_not=(Range(attribute="year", lt=1990),))

    assert compile_filter(tree, {"year"}).exact


def test_a_text_range_is_only_bounded() -> None:
    tree = Filter(must=(Range(attribute="day", gte="2026-01-01"),))

    assert not compile_filter(tree, ()).exact


def test_numbers_under_new_names_are_only_bounded() -> None:
    assert not compile_filter(Filter(must=(Range(attribute="new", gt=1),)), {"old"}).exact


def test_every_element_has_a_field_for_each_known_number() -> None:
    shown = json.loads(shown_attributes("i", {"a": 1}, {"a", "b"}))

    assert sorted(map(str, (shown[name] for name in shown if name != "t"))) == ["1.0", "None"]
