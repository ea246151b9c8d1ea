"""Filters as people write them: `year >= 1990 and genre in ('drama', 'war') and not exists(sequel)`."""

import re
from dataclasses import dataclass
from typing import NoReturn

from retrieval.errors import InvalidFilter
from retrieval.filter_sql import MAX_DEPTH, validate_filter
from retrieval.filters import Condition, Exists, Filter, HasId, Match, Range, Scalar

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<quoted>`[^`]+`)
      | (?P<word>[^\W\d][\w.-]*)
      | (?P<symbol><=|>=|!=|<>|==|[=<>(),])
    )""",
    re.VERBOSE,
)
_KEYWORDS = {"and", "or", "not", "in", "exists", "true", "false"}


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Comparisons are `=`, `!=`, `<`, `<=`, `>`, `>=`, `in (...)`, `not in (...)` and `exists(name)`, joined by
    `and`, `or`, `not` and brackets. Texts stand in quotes (doubled inside); `true` and `false` are booleans.
    `id` is the item's id; an attribute with that name, or one that is not a word, is written in backticks.

    Raises:
        InvalidFilter: if it cannot be read, saying where, or is too large.

    >>> parse_filter("year >= 1990 and not exists(sequel)").must_not
    (Exists(attribute='sequel'),)
    """
    parser = _Parser(text, _tokens(text))
    filter = _as_filter(parser.alternatives(1))
    parser.expect_end()
    validate_filter(filter)
    return filter


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(text: str) -> list[_Token]:
    tokens = []
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            _fail(text, start, "expected a name, a value or a comparison")
        kind = str(match.lastgroup)
        word = match[kind]
        if kind == "word" and word.lower() in _KEYWORDS:
            kind, word = "keyword", word.lower()
        tokens.append(_Token(kind, word, match.start(str(match.lastgroup))))
        position = match.end()
    tokens.append(_Token("end", "the end", len(text)))
    return tokens


def _fail(text: str, position: int, message: str) -> NoReturn:
    shown = text[max(0, position - 20) : position] + " >>> " + text[position : position + 20]
    raise InvalidFilter(f"filter: at character {position + 1}: {message}: {shown.strip()!r}")


class _Parser:
    """Recursive descent: alternatives of conjunctions of conditions."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0

    def alternatives(self, depth: int) -> Condition:
        parts = [self._conjunction(depth)]
        while self._take("keyword", "or"):
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else Filter(should=tuple(parts))

    def expect_end(self) -> None:
        if self._next.kind != "end":
            self._fail("expected 'and', 'or' or the end")

    def _conjunction(self, depth: int) -> Condition:
        must: list[Condition] = []
        must_not: list[Condition] = []
        while True:
            negated = False
            while self._take("keyword", "not"):
                negated = not negated
            part, refused = self._condition(depth)
            (must_not if negated != refused else must).append(part)
            if not self._take("keyword", "and"):
                break
        if len(must) == 1 and not must_not:
            return must[0]
        return Filter(must=tuple(must), must_not=tuple(must_not))

    def _condition(self, depth: int) -> tuple[Condition, bool]:
        """Read one condition; true beside it means that it must not hold."""
        if self._take("symbol", "("):
            if depth >= MAX_DEPTH:
                self._fail(f"expected at most {MAX_DEPTH} levels of brackets")
            inner = self.alternatives(depth + 1)
            self._expect(")")
            return inner, False
        if self._take("keyword", "exists"):
            self._expect("(")
            name = self._name()
            self._expect(")")
            return Exists(name), False
        is_id = self._next.kind == "word" and self._next.text == "id"
        name = self._name()
        return self._comparison(name, is_id)

    def _comparison(self, name: str, is_id: bool) -> tuple[Condition, bool]:
        refused = self._take("keyword", "not")
        if self._take("keyword", "in"):
            return self._one_of(name, is_id, self._values()), refused
        if refused:
            self._fail("expected 'in' after 'not'")
        operator = self._next.text
        if self._next.kind != "symbol" or operator in "(),":
            self._fail("expected a comparison such as = or >=")
        self._at += 1
        if operator in ("=", "==", "!=", "<>"):
            return self._one_of(name, is_id, (self._value(),)), operator in ("!=", "<>")
        if is_id:
            self._fail("expected = or in after id")
        bound = self._value()
        if isinstance(bound, bool):
            self._fail("expected a number or text as a bound", back=1)
        side = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[operator]
        return Range(attribute=name, **{side: bound}), False

    def _one_of(self, name: str, is_id: bool, values: tuple[Scalar, ...]) -> Condition:
        if not is_id:
            return Match(name, values)
        if not all(isinstance(value, str) for value in values):
            self._fail("expected ids in quotes", back=1)
        return HasId(tuple(str(value) for value in values))

    def _values(self) -> tuple[Scalar, ...]:
        self._expect("(")
        values = [self._value()]
        while self._take("symbol", ","):
            values.append(self._value())
        self._expect(")")
        return tuple(values)

    def _value(self) -> Scalar:
        token = self._next
        self._at += 1
        match token.kind:
            case "text":
                quote = token.text[0]
                return token.text[1:-1].replace(quote * 2, quote)
            case "number":
                return int(token.text) if token.text.lstrip("-").isdecimal() else float(token.text)
            case "keyword" if token.text in ("true", "false"):
                return token.text == "true"
        self._fail("expected a value: a number, true, false or a text in quotes", back=1)

    def _name(self) -> str:
        token = self._next
        if token.kind not in ("word", "quoted"):
            self._fail("expected the name of an attribute")
        self._at += 1
        return token.text.strip("`")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, kind: str, text: str) -> bool:
        if (self._next.kind, self._next.text) != (kind, text):
            return False
        self._at += 1
        return True

    def _expect(self, symbol: str) -> None:
        if not self._take("symbol", symbol):
            self._fail(f"expected {symbol!r}")

    def _fail(self, message: str, *, back: int = 0) -> NoReturn:
        _fail(self._text, self._tokens[self._at - back].position, message)


def _as_filter(condition: Condition) -> Filter:
    return condition if isinstance(condition, Filter) else Filter(must=(condition,))
