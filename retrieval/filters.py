"""Filters as a typed tree: must, should and must_not over conditions on an item's attributes."""

from dataclasses import dataclass
from typing import TypeAlias

Scalar: TypeAlias = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Match:
    """The attribute equals any of the values. A list attribute matches if any of its elements does."""

    attribute: str
    any_of: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The attribute is a number (or an ISO 8601 text) within the bounds; None leaves a side open."""

    attribute: str
    gt: float | str | None = None
    gte: float | str | None = None
    lt: float | str | None = None
    lte: float | str | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The item has the attribute, and it is not null."""

    attribute: str


@dataclass(frozen=True, slots=True)
class HasId:
    """The item's id is one of these."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A node: every `must`, no `must_not`, and at least `min_should` of `should` hold.

    `min_should` None means 1 when there are `should` conditions. An empty filter matches everything.
    """

    must: tuple["Condition", ...] = ()
    should: tuple["Condition", ...] = ()
    must_not: tuple["Condition", ...] = ()
    min_should: int | None = None


Condition: TypeAlias = Match | Range | Exists | HasId | Filter
