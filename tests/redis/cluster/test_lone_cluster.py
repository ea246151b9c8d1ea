"""Servers without a database over a cluster that only its users may use, as docker-compose.yml makes it."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.twinspire.v1 import items_pb2, search_pb2
from retrieval.redis_layout import partition_tags, slot_of
from retrieval.redis_server import use_redis
from retrieval.workspace import Workspace
from server.mirror import RedisMirror
from tests.redis.guarded import make_users, settings
from tests.redis.local_cluster import LocalCluster
from tests.redis.serving import WORD, Searching, redis_parameters, until
from tests.redis.test_lone_server import matching
from tests.server.running import run_server
from tests.server.workspaces import COLLECTION, make_workspace

pytestmark = pytest.mark.slow
PARTITIONS = 6
SLOTS_USED = [slot_of(tag) for tag in partition_tags(COLLECTION, PARTITIONS)]


@pytest.fixture
def guarded_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """A cluster with the settings and users of the compose file, names for addresses included."""
    secrets = tmp_path / "secrets"
    words = make_users(secrets)
    replica = (secrets / "replica.conf").read_text().split()
    arguments = [*settings(), *settings("cluster.conf"), "--aclfile", str(secrets / "users.acl")]
    arguments += ["--masteruser", replica[1], "--masterauth", replica[3], "--save", ""]
    arguments += ["--cluster-announce-hostname", "localhost"]
    with LocalCluster(*arguments, admin=("admin", words["admin"])) as cluster:
        use_redis(cluster.url.replace("//", f"//twinspire:{words['twinspire']}@"))
        yield cluster
        use_redis("")


@pytest.fixture
def ws(guarded_cluster: LocalCluster, tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path / "workspace", parameters=redis_parameters(PARTITIONS)) as ws:
        yield ws


@pytest.fixture
def server(ws: Workspace) -> Iterator[Searching]:
    with RedisMirror(ws.models, interval_s=0.05) as mirror, closing(run_server(mirror)) as running:
        yield Searching(ws, next(running))


def upsert(server: Searching, id: str, text: str) -> None:
    server.running.upsert(items_pb2.Item(id=id, text=text))


def test_it_searches_and_writes(server: Searching) -> None:
    assert server.best() == WORD

    upsert(server, "fresh", "blue old far")

    assert until(lambda: server.running.ids("blue old far", limit=1) == ["fresh"]) < 5


def test_nobody_was_denied_anything(guarded_cluster: LocalCluster, server: Searching) -> None:
    upsert(server, "fresh", "blue old far")
    server.best()

    denied = [entry for node in guarded_cluster.nodes for entry in node.client.acl_log()]
    assert [(entry["username"], entry["object"]) for entry in denied] == []


def test_it_survives_a_killed_primary(guarded_cluster: LocalCluster, server: Searching) -> None:
    guarded_cluster.primary_of(SLOTS_USED[0]).kill()

    began = time.monotonic()
    until(lambda: server.best() == WORD)
    upsert(server, "fresh", "blue old far")

    assert server.running.ids("blue old far", limit=1) == ["fresh"]
    assert time.monotonic() - began < 6


def test_slots_move_under_writes(guarded_cluster: LocalCluster, server: Searching) -> None:
    for number, slot in enumerate(SLOTS_USED):
        source = guarded_cluster.primary_of(slot)
        target = guarded_cluster.primaries[(guarded_cluster.primaries.index(source) + 1) % 3]
        guarded_cluster.move_slot(slot, target, user=guarded_cluster.admin)
        upsert(server, f"fresh-{number}", "blue old far")

    found = server.running.ids("blue old far", limit=len(SLOTS_USED))
    assert sorted(found) == [f"fresh-{number}" for number in range(len(SLOTS_USED))]


def test_a_lost_shard_is_left_out_where_that_is_allowed(
    guarded_cluster: LocalCluster, server: Searching
) -> None:
    lost = guarded_cluster.primary_of(SLOTS_USED[0])
    guarded_cluster.replicas[guarded_cluster.primaries.index(lost)].kill()
    lost.kill()

    asked: list[dict[str, Any]] = [
        {"text": WORD},
        {"text": WORD, "filter": matching("pair", True)},
        {"query": search_pb2.Query(hybrid=search_pb2.HybridQuery(text=WORD))},
        {
            "query": search_pb2.Query(hybrid=search_pb2.HybridQuery(text=WORD)),
            "filter": matching("pair", True),
        },
    ]
    for fields in asked:
        with pytest.raises(grpc.RpcError) as caught:
            server.running.find(**fields)
        answer = server.running.find(params=search_pb2.SearchParams(allow_partial=True), **fields)

        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert answer.partial
        assert answer.hits
        assert "filter" not in fields or all("-" in hit.id for hit in answer.hits)


def test_a_server_may_leave_out_a_lost_shard_by_default(guarded_cluster: LocalCluster, ws: Workspace) -> None:
    with (
        RedisMirror(ws.models, interval_s=0.05) as mirror,
        closing(run_server(mirror, allow_partial=True)) as running,
    ):
        server = Searching(ws, next(running))
        lost = guarded_cluster.primary_of(SLOTS_USED[0])
        guarded_cluster.replicas[guarded_cluster.primaries.index(lost)].kill()
        lost.kill()

        assert server.search().partial
        assert server.running.find(WORD, explain=True).partial
        with pytest.raises(grpc.RpcError) as caught:
            server.search(allow_partial=False)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_words_are_found_over_all_partitions(server: Searching, ws: Workspace) -> None:
    query = search_pb2.Query(hybrid=search_pb2.HybridQuery(text="red blue"))
    upsert(server, "fresh", "red red")
    found = server.running.find(query=query, limit=50)

    with closing(run_server(ws)) as running:
        with_database = next(running)
        until(lambda: with_database.ids("red", limit=2)[0] == "fresh")
        expected = with_database.find(query=query, limit=50)
    assert [(hit.id, round(hit.score, 9)) for hit in found.hits] == [
        (hit.id, round(hit.score, 9)) for hit in expected.hits
    ]
