import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.chunking import Chunking
from retrieval.collections import create_collection
from retrieval.errors import InvalidFilter
from retrieval.filter_sql import FilterSelection, compile_filter, validate_filter
from retrieval.filters import Condition, Exists, Filter, HasId, Match, Range
from retrieval.items import Item, count_items, delete_items, ids_matching, upsert_items
from retrieval.workspace import Workspace

# Attribute names that a JSON path can and cannot spell, and values that SQLite would confuse if it could.
NAMES = st.sampled_from(
    ["a", "b", "année", "a.b", "$", "a b", "[0]", 'q"q', "back\\slash", "tab\t", "'", "#", "😀"]
)
TEXTS = st.sampled_from(
    ["", "1", "1.0", "true", "null", "a", "B", "é", "e\u0301", "猫", "%", '"', "[1]", "2020-01-01"]
)
NUMBERS = (
    st.sampled_from([0, 1, -1, 1.0, 0.5, 1e300, -1e-300, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 0.1, 1 / 3])
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = TEXTS | NUMBERS | st.booleans()
VALUES = SCALARS | st.none() | st.lists(SCALARS | st.none(), max_size=3)
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=4)
IDS = ["0", "1", "é", "e\u0301"]


def ranges(bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Range]:
    sides = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), bounds, min_size=1, max_size=2)
    return st.builds(lambda name, found: Range(attribute=name, **found), NAMES, sides)


LEAVES: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Match, NAMES, st.lists(SCALARS, min_size=1, max_size=3).map(tuple)),
    ranges(NUMBERS),
    ranges(TEXTS),
    st.builds(Exists, NAMES),
    st.builds(HasId, st.lists(st.sampled_from([*IDS, "missing"]), min_size=1, max_size=2).map(tuple)),
)


@st.composite
def nodes(draw: st.DrawFn, children: st.SearchStrategy[Condition]) -> Filter:
    must, should, must_not = (tuple(draw(st.lists(children, max_size=3))) for _ in range(3))
    minimum = draw(st.none() | st.integers(0, len(should)))
    return Filter(must=must, should=should, must_not=must_not, min_should=minimum)


FILTERS = nodes(st.recursive(LEAVES, nodes, max_leaves=6))


def holds(condition: Condition, id: str, attributes: dict[str, Any]) -> bool:
    """What a condition means, in Python."""
    match condition:
        case Match(name, any_of):
            value = attributes.get(name)
            elements = value if isinstance(value, list) else [value]
            return any(same(element, wanted) for element in elements for wanted in any_of)
        case Range():
            return in_range(condition, attributes.get(condition.attribute))
        case Exists(name):
            return attributes.get(name) is not None
        case HasId(ids):
            return id in ids
        case Filter():
            met = sum(holds(child, id, attributes) for child in condition.should)
            least = 1 if condition.min_should is None else condition.min_should
            return (
                all(holds(child, id, attributes) for child in condition.must)
                and (not condition.should or met >= least)
                and not any(holds(child, id, attributes) for child in condition.must_not)
            )


def kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "text" if isinstance(value, str) else "number"


def same(one: Any, other: Any) -> bool:
    return kind(one) == kind(other) and bool(one == other)


def in_range(condition: Range, value: Any) -> bool:
    if isinstance(value, list):
        return False
    pairs: list[tuple[Any, Callable[[Any, Any], bool]]] = [
        (condition.gt, operator.gt),
        (condition.gte, operator.ge),
        (condition.lt, operator.lt),
        (condition.lte, operator.le),
    ]
    return all(
        kind(bound) == kind(value) and compare(value, bound) for bound, compare in pairs if bound is not None
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(rows=st.lists(ATTRIBUTES, min_size=1, max_size=4), filter=FILTERS)
def test_sql_agrees_with_python(rows: list[dict[str, Any]], filter: Filter, workspace: Workspace) -> None:
    delete_items(workspace, "c", IDS)
    items = [Item(id, text="x", attributes=row) for id, row in zip(IDS, rows, strict=False)]
    upsert_items(workspace, "c", items)

    matching = {item.id for item in items if holds(filter, item.id, dict(item.attributes))}

    assert ids_matching(workspace, "c", filter) == sorted(matching, key=str.encode)
    negated = Filter(must_not=(filter,))
    assert set(ids_matching(workspace, "c", negated)) == {item.id for item in items} - matching


def test_an_empty_filter_matches_everything(workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="x")])

    assert count_items(workspace, "c", Filter()) == count_items(workspace, "c", None) == 1


def test_a_selection_holds_the_keys_of_all_segments_that_match(workspace: Workspace) -> None:
    create_collection(workspace, "other")
    upsert_items(workspace, "other", [Item("a", text="x", attributes={"keep": True})])
    long = "one two three four five six"
    upsert_items(
        workspace,
        "c",
        [Item(id, text=long + id, attributes={"keep": id != "b"}) for id in "abc"],
        chunking=Chunking(3),
    )

    selection = FilterSelection(workspace, "c", Filter(must=(Match("keep", (True,)),)))

    assert selection.keys.dtype == np.int64
    assert selection.keys.tolist() == [2, 3, 6, 7]
    assert selection.keys is selection.keys


def nested(depth: int) -> Filter:
    node = Filter(must=(Exists("a"),))
    for _ in range(depth - 1):
        node = Filter(must=(node,))
    return node


@pytest.mark.parametrize("filter", [nested(16), Filter(must=(HasId(tuple("x" * 512 for _ in range(1024))),))])
def test_filters_at_the_limits_run(filter: Filter, workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="x", attributes={"a": 1})])

    assert count_items(workspace, "c", filter) in (0, 1)


@pytest.mark.parametrize("minimum", [1, 2, 128, 256])
def test_256_conditions_run(minimum: int, workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item("a", text="x", attributes={f"a{n}": n for n in range(256)})])
    conditions = tuple(Match(f"a{n}", (n if n < 128 else -1, "text", True)) for n in range(256))

    assert count_items(workspace, "c", Filter(should=conditions, min_should=minimum)) == (minimum <= 128)
    assert count_items(workspace, "c", Filter(must_not=conditions[128:])) == 1


@pytest.mark.parametrize(
    "filter",
    [
        nested(17),
        nested(5000),
        Filter(must=tuple(Exists("a") for _ in range(257))),
        Filter(must=(Match("a", tuple(range(1025))),)),
        Filter(must=(Match("a", ()),)),
        Filter(must=(Match("", (1,)),)),
        Filter(must=(Match("n" * 257, (1,)),)),
        Filter(must=(Match("a\0", (1,)),)),
        Filter(must=(Match("\ud800", (1,)),)),
        Filter(must=(Match("a", (float("nan"),)),)),
        Filter(must=(Match("a", (1 << 63,)),)),
        Filter(must=(Match("a", ("a\0b",)),)),
        Filter(must=(Match("a", ("x" * 70_000,)),)),
        Filter(must=(Range(attribute="a"),)),
        Filter(must=(Range(attribute="a", gt=float("inf")),)),
        Filter(must=(Range(attribute="a", gt=True),)),
        Filter(must=(Range(attribute="a", gt=1, lt="b"),)),
        Filter(must=(HasId(()),)),
        Filter(must=(HasId(("",)),)),
        Filter(must=(HasId(("x" * 513,)),)),
        Filter(must=(HasId(("a\0",)),)),
        Filter(should=(Exists("a"),), min_should=2),
        Filter(min_should=1),
        Filter(min_should=-1),
    ],
)
def test_a_malformed_or_huge_filter_is_refused(filter: Filter) -> None:
    with pytest.raises(InvalidFilter) as refused:
        validate_filter(filter)

    assert refused.value.field == "filter"


def test_values_never_become_sql() -> None:
    hostile = "'; DROP TABLE items; --"

    condition = compile_filter(
        Filter(must=(Match(hostile, (hostile,)), Range(attribute=hostile, gt=hostile)))
    )

    assert "DROP" not in condition.sql
