"""Filters: from protobuf to the typed tree."""

import math

from protos.twinspire.v1 import filters_pb2 as pb
from retrieval.errors import InvalidFilter
from retrieval.filter_sql import MAX_DEPTH, validate_filter
from retrieval.filters import Condition, Exists, Filter, HasId, Match, Range, Scalar


def filter_from(message: pb.Filter) -> Filter | None:
    """Translate a filter; None if it is empty, so matches everything.

    Raises:
        InvalidFilter: if it is malformed or too large.
    """
    if not (message.must or message.should or message.must_not or message.HasField("min_should")):
        return None
    tree = _node(message, 1)
    validate_filter(tree)
    return tree


def _node(message: pb.Filter, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"filter: expected at most {MAX_DEPTH} levels, got more")
    return Filter(
        must=tuple(_condition(condition, depth) for condition in message.must),
        should=tuple(_condition(condition, depth) for condition in message.should),
        must_not=tuple(_condition(condition, depth) for condition in message.must_not),
        min_should=message.min_should if message.HasField("min_should") else None,
    )


def _condition(message: pb.Condition, depth: int) -> Condition:
    kind = message.WhichOneof("kind")
    if kind == "match":
        values = tuple(_value(value, "any_of") for value in message.match.any_of)
        return Match(message.match.attribute, values)
    if kind == "range":
        return _range(message.range)
    if kind == "exists":
        return Exists(message.exists.attribute)
    if kind == "has_id":
        return HasId(tuple(message.has_id.ids))
    if kind == "filter":
        return _node(message.filter, depth + 1)
    raise InvalidFilter("filter: a condition is empty: expected match, range, exists, has_id or filter")


def _range(message: pb.Range) -> Range:
    bounds: dict[str, float | str] = {}
    for name in ("gt", "gte", "lt", "lte"):
        if message.HasField(name):
            value = _value(getattr(message, name), name)
            if isinstance(value, bool):
                raise InvalidFilter(f"filter: range {name}: expected a number or a text, got a boolean")
            bounds[name] = value
    return Range(attribute=message.attribute, **bounds)


def _value(message: pb.Value, where: str) -> Scalar:
    kind = message.WhichOneof("kind")
    if kind is None:
        raise InvalidFilter(f"filter: {where}: a value is empty")
    value: Scalar = getattr(message, kind)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidFilter(f"filter: {where}: expected a finite number, got {value}")
    return value
