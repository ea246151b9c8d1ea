"""A clock that jumps has no effect: deadlines are monotonic, and order comes from numbers."""

import ast
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import retrieval.item_writes
import retrieval.publishing
from protos.twinspire.v1 import collections_pb2, items_pb2
from retrieval.publishing import list_versions, live_version, promote, roll_back
from tests.server.running import TIMEOUT_S, Running
from tests.server.workspaces import COLLECTION, build_version

ROOT = Path(__file__).parents[2]
ROOMS = ("retrieval", "encoders", "indexer", "server", "evaluation", "twinspire")
# Where the wall clock may be read: to show people when something was done, and for dates that people set.
SHOWN = {"retrieval/workspace.py", "server/logs.py"}
# The day a key expires.
DATES = {"server/keys.py", "server/access.py", "twinspire/commands/keys.py", "twinspire/doctor.py"}
WALL_CLOCK = {"time.time", "time.time_ns", "time.gmtime", "time.localtime", "datetime.now", "datetime.utcnow"}


def wall_clock_reads(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(f"{node.value.id}.{node.attr}")
    return found & WALL_CLOCK


def test_nothing_is_decided_by_the_wall_clock() -> None:
    reads = {
        str(file.relative_to(ROOT))
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
        if wall_clock_reads(file)
    }

    assert reads <= SHOWN | DATES


@pytest.fixture
def jumping_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading of the clock is far from the one before, back or forth."""
    times: Iterator[str] = itertools.cycle(
        ["2041-01-01T00:00:00.000+00:00", "1970-01-01T00:00:00.000+00:00", "2000-02-29T00:00:00.000+00:00"]
    )
    for module in (retrieval.item_writes, retrieval.publishing):
        monkeypatch.setattr(module, "now", lambda: next(times))


@pytest.mark.usefixtures("jumping_clock")
def test_versions_and_sequences_keep_their_order_whatever_the_clock_says(
    start_server: Callable[..., Running],
) -> None:
    running = start_server()
    ws = running.ws
    sequences = [running.upsert(items_pb2.Item(id=f"far{n}", text="far")).sequence for n in range(5)]
    first = live_version(ws, COLLECTION)
    published = [build_version(ws) for _ in range(4)]

    promote(ws, COLLECTION, published[2])
    promote(ws, COLLECTION, published[0])

    assert sequences == sorted(set(sequences))
    assert [version.version for version in list_versions(ws, COLLECTION)] == [*published[::-1], first]
    assert roll_back(ws, COLLECTION) == published[2]
    request = collections_pb2.ListIndexVersionsRequest(collection=COLLECTION)
    listed = running.collections.ListIndexVersions(request, timeout=TIMEOUT_S).versions
    assert [version.version for version in listed] == [*published[::-1], first]
