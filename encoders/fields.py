"""Checking the fields of configs and shapes: every error names the field and what it should be."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from retrieval.errors import InvalidInput


def check_at_least(checked: object, lowest: Mapping[str, float]) -> None:
    """Check that numbers are finite and at least this. None is left open, and passes.

    Raises:
        InvalidInput: naming the first that is not.
    """
    for name, least in lowest.items():
        got = getattr(checked, name)
        if got is not None and not least <= got < math.inf:
            raise InvalidInput(f"{name}: expected at least {least:g}, got {got}", field=name)


def check_above_zero(checked: object, *names: str) -> None:
    """Check that numbers are finite and more than 0.

    Raises:
        InvalidInput: naming the first that is not.
    """
    _check(checked, names, "more than 0", lambda got: 0 < got < math.inf)


def check_below_one(checked: object, *names: str) -> None:
    """Check that numbers are 0 to below 1.

    Raises:
        InvalidInput: naming the first that is not.
    """
    _check(checked, names, "0 to below 1", lambda got: 0 <= got < 1)


def check_held_out(checked: object, *names: str) -> None:
    """Check that shares that are held out leave something to learn from.

    Raises:
        InvalidInput: naming the first that does not.
    """
    _check(checked, names, "more than 0 to 0.5", lambda got: 0 < got <= 0.5)


def check_choice(checked: object, **choices: Any) -> None:
    """Check that fields are among those of their `Literal`.

    Raises:
        InvalidInput: naming the first that is not, and the choices.
    """
    for name, literal in choices.items():
        got, known = getattr(checked, name), get_args(literal)
        if got not in known:
            expected = f"{', '.join(known[:-1])} or {known[-1]}"
            raise InvalidInput(f"{name}: expected {expected}, got {got!r}", field=name)


def _check(checked: object, names: Sequence[str], expected: str, holds: Callable[[Any], bool]) -> None:
    for name in names:
        got = getattr(checked, name)
        if not holds(got):
            raise InvalidInput(f"{name}: expected {expected}, got {got}", field=name)
