"""The API as a client in another language sees it: Node.js, by the .proto files and by reflection.

Runs where node and npm are installed, and says so where they are not.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.rpc
import pytest

from server.permissions import Role
from tests.node.node_packages import HERE, RegistryUnreachable, missing_programs, modules
from tests.server.authorities import Authority
from tests.server.keyed import roles_file
from tests.server.running import run_server
from tests.server.workspaces import COLLECTION, direction, make_workspace

pytestmark = pytest.mark.assets
ROOTS = [HERE.parents[1], Path(next(iter(google.rpc.__path__))).parents[1]]


@dataclass(frozen=True)
class Guarded:
    """A server that asks for TLS and a key."""

    target: str
    ca: Path
    key: str


@pytest.fixture(scope="module")
def packages() -> Path:
    if missing := missing_programs():
        pytest.skip(f"the Node.js client was not run: no {' and no '.join(missing)} is installed")
    try:
        return modules()
    except RegistryUnreachable as error:
        pytest.skip(f"the Node.js client was not run: {error}")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("node")
    authority = Authority(folder / "certificates")
    pair = authority.issue("server")
    file, keys = roles_file(folder)
    with make_workspace(folder / "workspace") as ws:
        for running in run_server(ws, keys_file=file, tls_cert=pair.cert, tls_key=pair.key):
            yield Guarded(f"127.0.0.1:{running.server.port}", authority.file, keys[Role.ADMIN])


@pytest.fixture(scope="module", params=["static", "reflection"])
def seen(request: pytest.FixtureRequest, packages: Path, guarded: Guarded) -> dict[str, Any]:
    """What the client saw."""
    asked = {
        "way": request.param,
        "target": guarded.target,
        "ca": str(guarded.ca),
        "key": guarded.key,
        "roots": [str(root) for root in ROOTS],
        "collection": COLLECTION,
        "vector": direction("north").tolist(),
    }
    done = subprocess.run(
        ["node", str(HERE / "client.cjs"), json.dumps(asked)],
        env={**os.environ, "NODE_PATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def info(failure: dict[str, Any]) -> tuple[str, str, str]:
    details = failure["details"]["ErrorInfo"]
    return failure["code"], details["reason"], details["domain"]


def test_node_finds_the_services(seen: dict[str, Any]) -> None:
    assert seen["services"] == ["CollectionService", "ItemService", "SearchService", "ServerService"]
    assert seen["server"] == 1000


def test_node_searches_by_text(seen: dict[str, Any]) -> None:
    assert seen["search"]["ids"] == ["north", "north-east"]
    assert seen["search"]["score"] == pytest.approx(1.0, abs=1e-5)
    assert seen["search"]["version"].startswith("000001-")


def test_node_searches_by_a_vector(seen: dict[str, Any]) -> None:
    assert seen["vector"] == ["north", "north-east"]


def test_node_searches_with_a_filter(seen: dict[str, Any]) -> None:
    assert seen["filtered"] == ["green", "north", "south"]


def test_node_searches_in_batches_of_which_one_fails_alone(seen: dict[str, Any]) -> None:
    north, empty, red = seen["batch"]

    assert (north[0], empty, red[0]) == ("north", "EMPTY_QUERY", "red")


def test_node_streams_upserts_and_finds_them(seen: dict[str, Any]) -> None:
    assert [answer["stored"] for answer in seen["upserts"]] == [1, 0, 1]
    assert [answer["errors"] for answer in seen["upserts"]] == [[], ["INVALID_ID"], []]
    assert seen["upserts"][2]["sequence"] > seen["upserts"][0]["sequence"]
    assert seen["found"] == ["node-a"]


def test_node_deletes(seen: dict[str, Any]) -> None:
    assert seen["deleted"] == {"count": 2, "missing": ["nobody"]}


def test_node_reads_an_errors_reason_and_particulars(seen: dict[str, Any]) -> None:
    assert info(seen["unknown"]) == ("NOT_FOUND", "COLLECTION_NOT_FOUND", "twinspire")
    assert seen["unknown"]["details"]["ErrorInfo"]["metadata"] == {"collection": "nowhere"}


def test_node_reads_which_field_was_wrong(seen: dict[str, Any]) -> None:
    (violation,) = seen["limit"]["details"]["BadRequest"]["field_violations"]

    assert (seen["limit"]["code"], violation["field"]) == ("INVALID_ARGUMENT", "limit")


def test_node_is_told_of_a_version_that_is_not_there(seen: dict[str, Any]) -> None:
    assert seen["version"]["code"] in ("NOT_FOUND", "ABORTED")


def test_node_without_a_good_key_is_unauthenticated(seen: dict[str, Any]) -> None:
    assert info(seen["stranger"]) == ("UNAUTHENTICATED", "UNAUTHENTICATED", "twinspire")
