"""JSON with bounded memory: lines, one array of any length, or an object of columns."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from indexer.importers.lines import MAX_LINE_BYTES, lines, open_bytes
from indexer.importers.source import Reject, raw_start
from retrieval.errors import UnreadableSource

CHUNK_BYTES = 1 << 18
WHITESPACE = " \t\r\n"
BLANK = re.compile(f"[{WHITESPACE}]*")
LONGEST_EXPONENT = 32  # characters; longer ones are no real numbers


class _NotFinite(ValueError):
    pass


def _refuse_constant(name: str) -> NoReturn:
    raise _NotFinite(f"{name} is not a number")


decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_line(line: bytes) -> Any:
    """Parse one line of JSON; what cannot be parsed comes back as a `Reject`."""
    if len(line) > MAX_LINE_BYTES:
        return Reject(f"the line is longer than {MAX_LINE_BYTES} bytes", raw_start(line))
    try:
        text = line.decode().strip(WHITESPACE)
        row, end = decoder.raw_decode(text)
        return row if end == len(text) else Reject("bad JSON: more than one value", raw_start(line))
    except UnicodeDecodeError:
        return Reject("invalid UTF-8", raw_start(line))
    except _NotFinite as error:
        return Reject(str(error), raw_start(line))
    except (ValueError, RecursionError) as error:
        return Reject(f"bad JSON: {error}", raw_start(line))


class JsonStream:
    """A cursor over a JSON text that is never whole in memory."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        # Invalid bytes become surrogates, which no valid item may hold: they cost their row only.
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text = ""
        self._at = 0

    def peek(self) -> str:
        """Show the next character that is no white space; empty at the end."""
        while True:
            blank = BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._text) or not self._more(CHUNK_BYTES):
                return self._text[self._at : self._at + 1]

    def take(self, expected: str) -> None:
        """Step over a character.

        Raises:
            UnreadableSource: if another one comes.
        """
        if (got := self.peek()) != expected:
            raise UnreadableSource(f"{self._name}: expected {expected!r}, got {got or 'the end'!r}")
        self._at += 1

    def value(self) -> Any:
        """Parse one value.

        Raises:
            UnreadableSource: if it is no JSON, or longer than MAX_LINE_BYTES characters.
        """
        self.peek()
        step = CHUNK_BYTES
        while True:
            fault = "the value does not end"
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except _NotFinite as error:
                raise UnreadableSource(f"{self._name}: {error}") from error
            except (ValueError, RecursionError) as error:
                fault = str(error)
            else:
                # A number cut at its point or exponent parses as a shorter one: look further first.
                cut = isinstance(value, int | float) and len(self._text) - end < LONGEST_EXPONENT
                length = end - self._at
                if not cut or not self._more(CHUNK_BYTES):
                    self._at += length
                    return value
                continue
            if len(self._text) - self._at > MAX_LINE_BYTES or not self._more(step):
                raise UnreadableSource(f"{self._name}: bad JSON: {fault}")
            step *= 2

    def _more(self, size: int) -> bool:
        raw = self._stream.read(size)
        self._text = self._text[self._at :] + self._decode(raw, not raw)
        self._at = 0
        return bool(raw)

    def array(self) -> Iterator[Any]:
        """Yield the elements of an array."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.peek() == "]":
                self.take("]")
                return
            self.take(",")

    def members(self) -> Iterator[str]:
        """Yield the keys of an object; the caller consumes each one's value before the next."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            key = self.value()
            self.take(":")
            yield key
            if self.peek() == "}":
                self.take("}")
                return
            self.take(",")


def first_character(path: Path) -> str:
    """Tell how a JSON text begins: `[` for an array, `{` for lines or columns."""
    with open_bytes(path) as stream:
        return JsonStream(stream, path.name).peek()


def json_rows(path: Path, after: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a file of JSON lines or one JSON array, numbered from 1 (lines: by line).

    A line that is no JSON comes as a `Reject`.

    Raises:
        UnreadableSource: if an array is broken, or the file is.
    """
    if first_character(path) == "[":
        with open_bytes(path) as stream:
            for number, row in enumerate(JsonStream(stream, path.name).array(), 1):
                if number > after:
                    yield number, row
    else:
        for number, line in lines(path):
            if number > after:
                yield number, parse_line(line)
