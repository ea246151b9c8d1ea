"""kill -9 of a server at each step of an upsert: nothing acknowledged is lost, the rest can be sent again."""

import contextlib
import signal
from pathlib import Path

import grpc
import pytest

from retrieval.workspace import Workspace
from tests.faults.crashes import check_consistency
from tests.faults.served import serve
from tests.server.workspaces import COLLECTION

BEFORE = 3  # upserts that are acknowledged before the one that kills


@pytest.mark.parametrize(
    "failpoint",
    [
        "upsert-not-committed",
        "upsert-committed",
        "encode",
        "vectors-not-committed",
        pytest.param("upsert-old-deleted", marks=pytest.mark.slow),
        pytest.param("vectors-committed", marks=pytest.mark.slow),
    ],
)
def test_what_a_killed_server_acknowledged_is_there_and_found(root: Path, failpoint: str) -> None:
    acknowledged: list[str] = []
    with serve(root, f"{failpoint}:{BEFORE + 1}") as server:
        with contextlib.suppress(grpc.RpcError):
            for number in range(BEFORE + 2):
                server.upsert(f"kept{number}")
                acknowledged.append(f"kept{number}")
        assert server.end() == -signal.SIGKILL
    # Catching up after the start may pass the encoder's points as well, with an item that was just stored.
    fewest = BEFORE if failpoint.startswith("upsert") else 1
    assert fewest <= len(acknowledged) <= BEFORE

    with Workspace(root) as ws:
        check_consistency(ws, COLLECTION)
    with serve(root) as server:
        assert server.missing(acknowledged) == []
        assert set(acknowledged) <= set(server.search("far", limit=100))
        again = [*acknowledged, f"kept{len(acknowledged)}"]
        server.upsert(again[-1])
        assert server.search("far", limit=1 + len(again)) == ["far", *again]
