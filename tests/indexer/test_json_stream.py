import io
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.importers import json_stream
from indexer.importers.json_stream import JsonStream, parse_line
from indexer.importers.source import Reject
from retrieval.errors import UnreadableSource

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(rows=st.lists(VALUES, max_size=6), chunk=st.integers(1, 9), indent=st.none() | st.just(1))
def test_an_array_reads_the_same_in_pieces_of_any_size(
    rows: list[Any], chunk: int, indent: int | None
) -> None:
    raw = json.dumps(rows, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    expected = json.loads(raw.decode("utf-8", "surrogatepass"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        stream = JsonStream(io.BytesIO(raw), "a.json")

        assert list(stream.array()) == expected


@given(raw=st.binary(max_size=40))
def test_junk_is_refused_or_read_but_never_crashes(raw: bytes) -> None:
    with suppress(UnreadableSource):
        list(JsonStream(io.BytesIO(raw), "a.json").array())


@given(raw=st.binary(max_size=40))
def test_a_line_of_junk_is_rejected_or_read_but_never_crashes(raw: bytes) -> None:
    parse_line(raw)


@given(value=VALUES)
def test_a_line_reads_as_it_was_written(value: Any) -> None:
    try:
        line = json.dumps(value, ensure_ascii=False).encode() + b"\r\n"
    except UnicodeEncodeError:
        return

    assert parse_line(line) == value


@pytest.mark.parametrize("line", [b"{} {}", b"[1] x", b"1e", b"", b'{"a": Infinity}'])
def test_a_line_that_is_not_one_value_is_rejected(line: bytes) -> None:
    assert isinstance(parse_line(line), Reject)
