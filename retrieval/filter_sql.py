"""Filters as SQL conditions over `items`, whose attributes are JSON."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.errors import InvalidFilter, TwinspireError
from retrieval.filters import Condition, Exists, Filter, HasId, Match, Range
from retrieval.index import Keys
from retrieval.item_checks import MAX_ATTRIBUTE_NAME_BYTES, check_id
from retrieval.workspace import Workspace

MAX_CONDITIONS = 256
MAX_DEPTH = 16
MAX_VALUES = 1024
MAX_VALUE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class SqlCondition:
    """A condition on a row of `items`, never NULL, with the parameters of its question marks."""

    sql: str
    parameters: tuple[Any, ...] = ()


EVERYTHING = SqlCondition("1")


def compile_filter(filter: Filter | None) -> SqlCondition:
    """Compile a filter to a condition over `items`; None matches everything.

    Values keep their type: the number 1, the text "1" and true are three different values. An attribute
    that is null is not there.

    Raises:
        InvalidFilter: if the filter is malformed or too large.
    """
    if filter is None:
        return EVERYTHING
    validate_filter(filter)
    return _node(filter)


def _node(node: Filter) -> SqlCondition:
    parts = [_condition(condition) for condition in node.must]
    if node.should:
        parts.append(_at_least(node.should, 1 if node.min_should is None else node.min_should))
    for condition in node.must_not:
        inner = _condition(condition)
        parts.append(SqlCondition(f"(NOT {inner.sql})", inner.parameters))
    return _join(parts, " AND ") if parts else EVERYTHING


def _at_least(conditions: Sequence[Condition], minimum: int) -> SqlCondition:
    parts = [_condition(condition) for condition in conditions]
    if minimum == 1:
        return _join(parts, " OR ")
    total = _join(parts, " + ")
    return SqlCondition(f"({total.sql} >= {minimum})", total.parameters)


def _join(parts: Sequence[SqlCondition], operator: str) -> SqlCondition:
    # In halves, since SQLite limits how deep an expression may nest.
    if len(parts) > 2:
        middle = len(parts) // 2
        parts = [_join(parts[:middle], operator), _join(parts[middle:], operator)]
    if len(parts) == 1:
        return parts[0]
    sql = operator.join(part.sql for part in parts)
    return SqlCondition(f"({sql})", tuple(value for part in parts for value in part.parameters))


def _condition(condition: Condition) -> SqlCondition:
    match condition:
        case Match():
            return _match(condition)
        case Range():
            return _range(condition)
        case Exists(attribute):
            path = _Path(attribute)
            return SqlCondition(f"(coalesce({path.type}, 'null') <> 'null')", path.parameter)
        case HasId(ids):
            values = json.dumps(ids, ensure_ascii=False)
            return SqlCondition("(items.id IN (SELECT value FROM json_each(?)))", (values,))
        case Filter():
            return _node(condition)


class _Path:
    """How SQLite finds an attribute: each expression takes `parameter` once."""

    def __init__(self, attribute: str) -> None:
        if any(character in '"\\' or character < " " for character in attribute):
            # A JSON path cannot spell such a name.
            entry = "FROM json_each(items.attributes) AS entry WHERE entry.key = ?"
            self.type = f"(SELECT entry.type {entry})"
            self.value = f"(SELECT entry.value {entry})"
            self.elements = f"json_each((SELECT entry.value {entry}))"
            self.parameter: tuple[str] = (attribute,)
        else:
            self.type = "json_type(items.attributes, ?)"
            self.value = "json_extract(items.attributes, ?)"
            self.elements = "json_each(items.attributes, ?)"
            self.parameter = (f'$."{attribute}"',)


def _match(condition: Match) -> SqlCondition:
    path = _Path(condition.attribute)
    # JSON's booleans come out of SQLite as 1 and 0, so they are told apart by their type.
    booleans = {json.dumps(value) for value in condition.any_of if isinstance(value, bool)}
    types = ", ".join(f"'{name}'" for name in sorted(booleans))
    # As JSON, so that a wanted number is read from its digits just as a stored one is.
    values = json.dumps(
        [value for value in condition.any_of if not isinstance(value, bool)], ensure_ascii=False
    )
    listed = "IN (SELECT value FROM json_each(?))"
    sql = (
        f"(CASE {path.type} WHEN 'array' THEN EXISTS (SELECT 1 FROM {path.elements} AS element WHERE"
        f" (element.type NOT IN ('true', 'false') AND element.value {listed}) OR element.type IN ({types}))"
        f" WHEN 'true' THEN {int('true' in booleans)} WHEN 'false' THEN {int('false' in booleans)}"
        f" ELSE coalesce({path.value} {listed}, 0) END)"
    )
    return SqlCondition(sql, (*path.parameter, *path.parameter, values, *path.parameter, values))


def _range(condition: Range) -> SqlCondition:
    path = _Path(condition.attribute)
    bounds = _bounds(condition)
    kinds = "'text'" if isinstance(bounds[0][1], str) else "'integer', 'real'"
    tests = " AND ".join(f"{path.value} {operator} json_extract(?, '$[0]')" for operator, _ in bounds)
    parameters = [
        part for _, bound in bounds for part in (*path.parameter, json.dumps([bound], ensure_ascii=False))
    ]
    return SqlCondition(
        f"(CASE WHEN {path.type} IN ({kinds}) THEN {tests} ELSE 0 END)", (*path.parameter, *parameters)
    )


def _bounds(condition: Range) -> list[tuple[str, float | str]]:
    pairs = ((">", condition.gt), (">=", condition.gte), ("<", condition.lt), ("<=", condition.lte))
    return [(operator, bound) for operator, bound in pairs if bound is not None]


def validate_filter(filter: Filter) -> None:
    """Check a filter against the limits.

    Raises:
        InvalidFilter: if it has too many conditions or values, nests too deep, or a condition is malformed.
    """
    for count, (condition, depth) in enumerate(_walk(filter, 1)):  # the root is the 0th
        if count > MAX_CONDITIONS:
            raise InvalidFilter(f"filter: expected at most {MAX_CONDITIONS} conditions, got more")
        if depth > MAX_DEPTH:
            raise InvalidFilter(f"filter: expected at most {MAX_DEPTH} levels, got more")
        _validate(condition)


def _walk(node: Filter, depth: int) -> Iterator[tuple[Condition, int]]:
    yield node, depth
    if depth > MAX_DEPTH:
        return
    for condition in (*node.must, *node.should, *node.must_not):
        if isinstance(condition, Filter):
            yield from _walk(condition, depth + 1)
        else:
            yield condition, depth


def _validate(condition: Condition) -> None:
    match condition:
        case Match(attribute, any_of):
            _check_attribute(attribute)
            _check_count(len(any_of), f"values of {attribute!r}")
            for value in any_of:
                _check_value(attribute, value)
        case Range():
            _check_attribute(condition.attribute)
            _check_range(condition)
        case Exists(attribute):
            _check_attribute(attribute)
        case HasId(ids):
            _check_count(len(ids), "ids")
            _check_ids(ids)
        case Filter():
            _check_min_should(condition)
        case _:
            raise InvalidFilter(f"filter: expected a condition, got {type(condition).__name__}")


def _check_attribute(name: str) -> None:
    size = len(name.encode(errors="surrogatepass"))
    if not 1 <= size <= MAX_ATTRIBUTE_NAME_BYTES:
        raise InvalidFilter(
            f"filter: expected an attribute name of 1 to {MAX_ATTRIBUTE_NAME_BYTES} bytes, got {size}"
        )
    _check_value("an attribute's name", name)


def _check_count(count: int, what: str) -> None:
    if not 1 <= count <= MAX_VALUES:
        raise InvalidFilter(f"filter: expected 1 to {MAX_VALUES} {what}, got {count}")


def _check_value(attribute: str, value: object) -> None:
    if isinstance(value, str):
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise InvalidFilter(f"filter: {attribute!r}: expected valid Unicode") from None
        if "\0" in value or size > MAX_VALUE_BYTES:
            raise InvalidFilter(
                f"filter: {attribute!r}: expected at most {MAX_VALUE_BYTES} bytes without NUL"
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidFilter(f"filter: {attribute!r}: expected a finite number, got {value}")
    elif isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise InvalidFilter(f"filter: {attribute!r}: expected an integer of at most 64 bits")
    else:
        raise InvalidFilter(
            f"filter: {attribute!r}: expected a text, number or boolean, got {type(value).__name__}"
        )


def _check_range(condition: Range) -> None:
    bounds = [bound for _, bound in _bounds(condition)]
    for bound in bounds:
        _check_value(condition.attribute, bound)
    if not bounds or any(isinstance(bound, bool) for bound in bounds):
        raise InvalidFilter(f"filter: {condition.attribute!r}: expected a number or text as a bound")
    if len({isinstance(bound, str) for bound in bounds}) > 1:
        raise InvalidFilter(f"filter: {condition.attribute!r}: expected bounds of one type, got two")


def _check_ids(ids: Sequence[str]) -> None:
    try:
        for id in ids:
            check_id(id)
    except TwinspireError as error:
        raise InvalidFilter(f"filter: {error}") from None


def _check_min_should(node: Filter) -> None:
    if node.min_should is not None and not 0 <= node.min_should <= len(node.should):
        raise InvalidFilter(
            f"filter: expected min_should of 0 to {len(node.should)}, the number of should conditions,"
            f" got {node.min_should}"
        )


class FilterSelection:
    """The segments of the items that match a filter; implements `retrieval.index.Selection`."""

    def __init__(self, ws: Workspace, collection: str, filter: Filter) -> None:
        """Compile the filter; nothing is read yet.

        Raises:
            InvalidFilter: if the filter is malformed or too large.
        """
        self._ws = ws
        self._collection = collection
        self._filter = filter
        self._condition = compile_filter(filter)
        self._keys: Keys | None = None

    @property
    def filter(self) -> Filter:
        """The condition as a tree."""
        return self._filter

    @property
    def keys(self) -> Keys:
        """The matching segments' keys, ascending; found on first use, then kept.

        Raises:
            BackendUnavailable: if the database is locked.
        """
        if self._keys is None:
            rows = self._ws.fetch(
                "SELECT segments.rowid FROM items JOIN segments ON segments.item = items.rowid"
                f" WHERE items.collection = ? AND {self._condition.sql}",
                (self._collection, *self._condition.parameters),
            )
            self._keys = np.fromiter((key for (key,) in rows), dtype=np.int64, count=len(rows))
            self._keys.sort()
        return self._keys
