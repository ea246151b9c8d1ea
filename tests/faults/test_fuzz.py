"""Fuzzing by hypothesis, bounded in time: frames on a raw socket, and messages of every method.

Afterwards the server lives, answers, has its memory back, and nobody was told of an internal error.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos.twinspire.v1 import collections_pb2, encoders_pb2, items_pb2, search_pb2, server_pb2
from tests.faults import http2
from tests.faults.served import PATHS, Served, serve
from tests.server.workspaces import COLLECTION, make_workspace

ROOM = 64 << 20  # what the memory may grow by
FORBIDDEN = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
BOUNDED = settings(
    max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in (search_pb2, items_pb2, encoders_pb2, collections_pb2, server_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("fuzz") / "ws"
    make_workspace(root).close()
    with serve(root, handshake_timeout_s=1.0) as served:
        served.search()
        yield served
        assert served.lives()
        assert served.metric('twinspire_errors_total{reason="INTERNAL"}') == 0
        assert "unexpected" not in served.log.read_text(errors="replace")


@pytest.fixture(autouse=True)
def unharmed(server: Served) -> Iterator[None]:
    before = server.memory
    yield
    assert server.lives()
    assert server.memory - before < ROOM


headers = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([http2.call_headers(path) for path in METHODS]),
    st.lists(st.tuples(st.text("ab:-grpc/", max_size=20), st.text("ab:-grpc/", max_size=60)), max_size=8).map(
        http2.hpack
    ),
)
frames = st.one_of(
    st.builds(
        http2.frame, st.integers(0, 12), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=300)
    ),
    st.builds(
        http2.frame, st.just(http2.HEADERS), st.sampled_from([4, 5]), st.sampled_from([1, 3, 5]), headers
    ),
    st.builds(
        http2.frame,
        st.just(http2.DATA),
        st.sampled_from([0, 1]),
        st.sampled_from([1, 3, 5]),
        st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(http2.message)),
    ),
    st.builds(
        http2.call,
        st.sampled_from([1, 3, 5, 7]),
        st.sampled_from(sorted(METHODS)),
        st.binary(max_size=100),
    ),
)


@BOUNDED
@given(said=st.lists(frames, max_size=20), opens=st.booleans())
def test_any_frames_leave_the_server_as_it_was(server: Served, said: list[bytes], opens: bool) -> None:
    with http2.connect(server.port) as connection:
        connection.settimeout(0.02)
        http2.send(connection, (http2.opening() if opens else b"") + b"".join(said))
        http2.is_closed(connection)

    assert server.search("north", limit=1) == ["north"]


def fill(message: Any, chance: random.Random, depth: int = 0) -> Any:
    """Set some fields of a message to values that are likely to hurt."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.5 or (depth > 3 and field.type == FieldDescriptor.TYPE_MESSAGE):
            continue
        for _ in range(chance.choice([1, 1, 3, 30]) if field.is_repeated else 1):
            value = _value(field, chance)
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                if field.message_type.GetOptions().map_entry:
                    continue
                inner = getattr(message, field.name)
                fill(inner.add() if field.is_repeated else inner, chance, depth + 1)
            elif field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    return message


_TEXTS = [
    "",
    " ",
    "north",
    "far",
    COLLECTION,
    "compass@1",
    "x" * 600,
    "é\u0301🧭",
    "' OR 1=1 --",
    '"',
    "a\0b",
    "../..",
]
_BYTES = [b"", b"\0" * 52, b"\xff" * 52, b"\0\0\x80\x7f" * 13, b"x" * 51, b"\x80\x3f" * 26]
_WHOLE = [0, 1, 2, 5, 1000, 1001, (1 << 31) - 1]
_NUMBERS = [0.0, 1.0, -1.0, 1e308, float("nan"), float("inf"), 5e-324, 0.5]


def _value(field: Any, chance: random.Random) -> Any:
    kinds = FieldDescriptor
    if field.cpp_type == kinds.CPPTYPE_STRING:
        return chance.choice(_BYTES if field.type == kinds.TYPE_BYTES else _TEXTS)
    if field.cpp_type in (kinds.CPPTYPE_DOUBLE, kinds.CPPTYPE_FLOAT):
        return chance.choice(_NUMBERS)
    if field.cpp_type == kinds.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.cpp_type in (kinds.CPPTYPE_INT32, kinds.CPPTYPE_INT64):
        return chance.choice(_WHOLE) * chance.choice([1, -1])
    return chance.choice(_WHOLE[:5])


def damage(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes, or none."""
    body = bytearray(data)
    for _ in range(chance.choice([0, 0, 1, 3, 10])):
        if body:
            body[chance.randrange(len(body))] = chance.randrange(256)
    return bytes(body[: chance.choice([len(body), len(body), chance.randrange(len(body) + 1)])])


@pytest.mark.parametrize("path", sorted(METHODS))
@settings(BOUNDED, max_examples=60)
@given(chance=st.randoms(use_true_random=True))
def test_no_message_is_answered_with_an_internal_error(
    server: Served, path: str, chance: random.Random
) -> None:
    method = METHODS[path]
    message = fill(GetMessageClass(method.input_type)(), chance)
    if method.name in ("DeleteItems", "UpsertItems"):
        message.collection = "elsewhere"  # the good call needs its items
    elif "collection" in message.DESCRIPTOR.fields_by_name and chance.random() < 0.8:
        message.collection = COLLECTION
    data = damage(message.SerializeToString(), chance)
    call: Any = server.channel.stream_stream(path)

    code, told = outcome(lambda: list(call(iter([data]), timeout=10)))

    assert code not in FORBIDDEN, (told, data)
    assert not PATHS.search(told), told


def outcome(work: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """Make a call, and tell its status code and message."""
    try:
        work()
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""
