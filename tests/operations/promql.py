"""Reading the names of metrics out of PromQL."""

import re

# What is followed by a parenthesis is a function, and what is in braces, quotes or brackets is no metric.
_NOT_METRICS = re.compile(r'\{[^}]*\}|"[^"]*"|\[[^\]]*\]|\b(?:by|without)\s*\([^)]*\)')
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\()\b")
_WORDS = {"and", "or", "unless", "bool", "offset", "on", "ignoring", "group_left", "group_right"}
_FUNCTIONS = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(")


def metrics_of(expression: str) -> set[str]:
    """Name the metrics of an expression.

    >>> sorted(metrics_of('sum by (le) (rate(a_bucket{job="x"}[5m])) / b > 0.5'))
    ['a_bucket', 'b']
    """
    rest = _NOT_METRICS.sub(" ", expression)
    rest = _FUNCTIONS.sub("(", rest)
    return set(_NAME.findall(rest)) - _WORDS


def is_balanced(expression: str) -> bool:
    """Tell whether every bracket is closed.

    >>> is_balanced("sum(a[5m])"), is_balanced("sum(a[5m]")
    (True, False)
    """
    open_brackets: list[str] = []
    for character in re.sub(r'"[^"]*"', "", expression):
        if character in "([{":
            open_brackets.append(character)
        elif character in ")]}" and (not open_brackets or open_brackets.pop() + character not in "()[]{}"):
            return False
    return not open_brackets
