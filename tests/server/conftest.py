"""Fixtures: running servers, and how calls fail."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from retrieval.workspace import Workspace
from tests.server.running import Failure, Running, failure_of, run_server
from tests.server.workspaces import make_workspace


@pytest.fixture(scope="session")
def fails() -> Callable[..., Failure]:
    """Call something that must fail, and return how."""

    def call(work: Callable[[], Any]) -> Failure:
        with pytest.raises(grpc.RpcError) as caught:
            work()
        return failure_of(caught.value)

    return call


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server over a workspace of this test's own."""
    with make_workspace(tmp_path / "workspace") as ws:
        yield from run_server(ws)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that all tests of a module read from; none writes to it."""
    with make_workspace(tmp_path_factory.mktemp("shared")) as ws:
        yield from run_server(ws)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start servers with settings, and stop them at the end."""
    started: list[Iterator[Running]] = []
    made: dict[str, Workspace] = {}

    def start(ws: Workspace | None = None, **settings: Any) -> Running:
        if ws is None:
            ws = made.setdefault("ws", made.get("ws") or make_workspace(tmp_path / "workspace"))
        generator = run_server(ws, **settings)
        started.append(generator)
        return next(generator)

    yield start
    for generator in started:
        for _ in generator:
            pass
    for ws in made.values():
        ws.close()
