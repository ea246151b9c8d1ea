"""Filters as Redis's FILTER expressions, and what of an item's attributes FILTER gets to see.

An expression that names a field which an element lacks is false as a whole, negations included. So every
element has the same fields: `t`, the list of its tokens, and a number for each name in `numeric` (null where
it has none). A token says "there is such an attribute", "it is a text", or "it has this value".

What FILTER cannot decide (texts in order, huge or tiny numbers, numbers under new names) is bounded: the
*widest* expression lets through every match and maybe more, for the caller to look at again with `matches`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.filters import Condition, Exists, Filter, HasId, Match, Range, Scalar

ALWAYS, NEVER = "1", "0"

# Doubles hold every integer below this one.
EXACT_INTEGERS = 1 << 53

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,31}")


def _word(text: str) -> str:
    """Spell any text in letters that need no quoting: itself, or its digest."""
    if _PLAIN.fullmatch(text):
        return text
    return "_" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _value_token(name: str, value: Scalar) -> str:
    if isinstance(value, bool):
        return f"{_word(name)}=b{int(value)}"
    if isinstance(value, str):
        return f"{_word(name)}=s{_word(value)}"
    whole = int(value) if value == int(value) else value  # 1 and 1.0 are one number
    return f"{_word(name)}=n{_word(repr(whole))}"


def _field(name: str) -> str:
    return "n" + hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def is_number(value: object) -> bool:
    """Tell numbers from booleans, which JSON does too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown_attributes(id: str, attributes: Mapping[str, Any], numeric: Collection[str]) -> str:
    """Flatten an item's attributes to the JSON that FILTER sees.

    Args:
        id: of the item.
        attributes: flat; lists hold scalars.
        numeric: the names that have a field of their own in every element of the build.
    """
    tokens = ["#" + _word(id)]
    numbers: dict[str, float | None] = {_field(name): None for name in numeric}
    for name, value in attributes.items():
        if value is None:
            continue
        tokens.append(_word(name))
        if isinstance(value, list):
            tokens += [_value_token(name, each) for each in value if each is not None]
            continue
        tokens.append(_value_token(name, value))
        if isinstance(value, str):
            tokens.append(f"{_word(name)}:s")
        elif is_number(value):
            tokens.append(f"{_word(name)}:n")
            if name in numeric:
                numbers[_field(name)] = float(value)
    return json.dumps({"t": tokens, **numbers})


@dataclass(frozen=True, slots=True)
class Expression:
    """A FILTER expression."""

    text: str
    exact: bool  # it lets through what matches, and nothing else


def compile_filter(filter: Filter, numeric: Collection[str]) -> Expression:
    """Compile a filter to the widest expression: no match is left out.

    >>> compile_filter(Filter(must=(Match("genre", ("jazz", "folk")),), must_not=(Exists("sold"),)), ()).text
    '((("genre=sjazz" in .t) or ("genre=sfolk" in .t)) and (not ("sold" in .t)))'
    """
    wide, narrow = _Bound(numeric, True), _Bound(numeric, False)
    text = wide.node(filter)
    return Expression(text, text == narrow.node(filter))


class _Bound:
    """Compiles to an expression that lets through at least, or at most, what matches."""

    def __init__(self, numeric: Collection[str], wide: bool) -> None:
        self._numeric = numeric
        self._wide = wide

    def node(self, node: Filter) -> str:
        parts = [self.condition(condition) for condition in node.must]
        minimum = 1 if node.min_should is None else node.min_should
        if node.should and minimum == 1:
            parts.append(_joined([self.condition(condition) for condition in node.should], " or "))
        elif node.should and minimum > 1:
            summed = _joined([self.condition(condition) for condition in node.should], " + ")
            parts.append(f"({summed} >= {minimum})")
        opposite = _Bound(self._numeric, not self._wide)
        parts += [f"(not {opposite.condition(condition)})" for condition in node.must_not]
        return _joined(parts, " and ") if parts else ALWAYS

    def condition(self, condition: Condition) -> str:
        match condition:
            case Match(attribute, any_of):
                return _joined([_has(_value_token(attribute, value)) for value in any_of], " or ")
            case Range():
                return self._range(condition)
            case Exists(attribute):
                return _has(_word(attribute))
            case HasId(ids):
                return _joined([_has("#" + _word(id)) for id in ids], " or ")
            case Filter():
                return self.node(condition)

    def _range(self, condition: Range) -> str:
        bounds = [
            (operator, bound)
            for operator, bound in zip(
                (">", ">=", "<", "<="),
                (condition.gt, condition.gte, condition.lt, condition.lte),
                strict=True,
            )
            if bound is not None
        ]
        name = condition.attribute
        kind = _has(f"{_word(name)}:{'s' if isinstance(bounds[0][1], str) else 'n'}")
        if isinstance(bounds[0][1], str) or name not in self._numeric:
            return kind if self._wide else NEVER
        if any("e" in repr(float(bound)) for _, bound in bounds):  # Redis reads no signed exponents
            return kind if self._wide else NEVER
        tests = [self._compare(_field(name), operator, float(bound)) for operator, bound in bounds]
        return _joined([kind, *tests], " and ")

    def _compare(self, field: str, operator: str, bound: float) -> str:
        if abs(bound) >= EXACT_INTEGERS:  # rounding may have made different integers equal
            operator = operator[0] + ("=" if self._wide else "")
        return f"(.{field} {operator} {bound!r})"


def _has(token: str) -> str:
    return f'("{token}" in .t)'


def _joined(parts: Sequence[str], operator: str) -> str:
    return parts[0] if len(parts) == 1 else f"({operator.join(parts)})"


def matches(filter: Filter, id: str, attributes: Mapping[str, Any]) -> bool:
    """Tell whether an item matches, exactly as the SQL of `filter_sql` does.

    >>> matches(Filter(must=(Range(attribute="year", gte=1990),)), "a", {"year": 1991})
    True
    """
    return _node_matches(filter, lambda condition: _holds(condition, id, attributes))


def _node_matches(node: Filter, holds: Callable[[Condition], bool]) -> bool:
    if not all(holds(condition) for condition in node.must) or any(map(holds, node.must_not)):
        return False
    minimum = (1 if node.min_should is None else node.min_should) if node.should else 0
    return minimum <= 0 or sum(map(holds, node.should)) >= minimum


def _holds(condition: Condition, id: str, attributes: Mapping[str, Any]) -> bool:
    match condition:
        case Match(attribute, any_of):
            value = attributes.get(attribute)
            values = value if isinstance(value, list) else [value]
            return any(_same(each, wanted) for each in values for wanted in any_of)
        case Range():
            return _within(condition, attributes.get(condition.attribute))
        case Exists(attribute):
            return attributes.get(attribute) is not None
        case HasId(ids):
            return id in ids
        case Filter():
            return matches(condition, id, attributes)


def _same(value: object, wanted: Scalar) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, str) or isinstance(wanted, str):
        return isinstance(value, str) and isinstance(wanted, str) and value == wanted
    return value == wanted


def _within(condition: Range, value: Any) -> bool:
    bounds = (condition.gt, condition.gte, condition.lt, condition.lte)
    is_text = any(isinstance(bound, str) for bound in bounds)
    if isinstance(value, bool) or not isinstance(value, str if is_text else int | float):
        return False
    if isinstance(value, str):  # SQLite orders texts by their bytes
        value = value.encode()
    gt, gte, lt, lte = (bound.encode() if isinstance(bound, str) else bound for bound in bounds)
    return (
        (gt is None or value > gt)
        and (gte is None or value >= gte)
        and (lt is None or value < lt)
        and (lte is None or value <= lte)
    )
