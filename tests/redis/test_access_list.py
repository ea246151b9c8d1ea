"""The access list of the compose file: the real server does all it does with it, and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from protos.twinspire.v1 import collections_pb2, items_pb2, search_pb2, server_pb2
from retrieval.index_types import choose_parameters
from retrieval.publishing import delete_version, live_version, promote
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_journal import drain_journal
from retrieval.redis_server import redis_server, use_redis
from retrieval.workspace import Workspace
from server.mirror import RedisMirror
from tests.redis.guarded import SETTINGS, Guarded, guarded
from tests.redis.serving import redis_parameters, until
from tests.server.running import Running, run_server
from tests.server.workspaces import COLLECTION, build_version, make_workspace

# Used in a cluster alone (tests/redis/cluster), or by what no Redis here is.
ELSEWHERE = {"cluster|slots", "asking"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("guarded") / "secrets") as running:
        until(running.admin.ping)
        yield running


def allowed() -> set[str]:
    (rule,) = [
        line for line in (SETTINGS / "users.acl").read_text().splitlines() if "user twinspire " in line
    ]
    return {word[1:] for word in rule.split() if word.startswith("+")}


def write_and_search(running: Running) -> None:
    """Do what a server does: search in all ways, write, read, list, count, delete."""
    assert running.ids("north")[0] == "north"
    query = search_pb2.Query(item_id="north")
    assert running.find(query=query, with_vector=True, explain=True).hits
    assert running.find("north", params=search_pb2.SearchParams(exact=True, allow_partial=True)).hits
    item = items_pb2.Item(id="fresh", text="blue old far")
    running.upsert(item)
    until(lambda: running.ids("blue old far", limit=1) == ["fresh"])
    item.attributes["length"] = 77
    running.upsert(item)
    running.upsert(items_pb2.Item(id="fresh", text="red green"))
    until(lambda: running.ids("red green", limit=1) == ["fresh"])
    assert running.items.GetItems(items_pb2.GetItemsRequest(collection=COLLECTION, ids=["fresh"])).items
    assert running.items.ListItems(items_pb2.ListItemsRequest(collection=COLLECTION, page_size=5)).items
    assert running.items.CountItems(items_pb2.CountItemsRequest(collection=COLLECTION)).count
    request = collections_pb2.GetCollectionRequest(collection=COLLECTION)
    assert running.collections.GetCollection(request).collection.live_version
    ids = items_pb2.ItemIds(ids=["fresh"])
    running.items.DeleteItems(items_pb2.DeleteItemsRequest(collection=COLLECTION, ids=ids))
    info = running.info.GetServerInfo(server_pb2.GetServerInfoRequest())
    assert info.backends[0].database.fault == ""


def switch_version(ws: Workspace, running: Running, parameters: Any) -> None:
    old = live_version(ws, COLLECTION)
    new = build_version(ws, parameters=parameters)
    promote(ws, COLLECTION, new)
    until(lambda: running.find("north").index_version == new)
    assert old is not None
    delete_version(ws, COLLECTION, old)


def do_everything(ws: Workspace, parameters: Any) -> None:
    for running in run_server(ws):
        write_and_search(running)
        switch_version(ws, running, parameters)
    RedisCatalog(redis_server()).sweep()
    with RedisMirror(ws.models, interval_s=0.05) as mirror:
        for running in run_server(mirror):
            write_and_search(running)
    drain_journal(ws, COLLECTION)


@pytest.fixture(scope="module")
def used(redis: Guarded, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Do everything as the server's user, and return the commands that it took."""
    use_redis(redis.url)
    for storage in ("f32", "sq8"):
        plain = redis_parameters()
        overrides = {"backend": "redis", "storage": storage, "effort": plain.effort}
        parameters = choose_parameters(20, 13, overrides=overrides)
        folder = tmp_path_factory.mktemp(storage)
        with make_workspace(folder / "workspace", parameters=parameters) as ws:
            do_everything(ws, parameters)
        redis.admin.flushall()
    use_redis("")
    stats = redis.admin.info("commandstats")
    return {name.removeprefix("cmdstat_").lower() for name, told in stats.items() if told["calls"] > 0}


def test_the_server_is_denied_nothing(redis: Guarded, used: set[str]) -> None:
    assert used
    assert [entry["object"] for entry in redis.admin.acl_log() if entry["username"] == "twinspire"] == []


def test_the_server_is_allowed_nothing_that_it_does_not_use(used: set[str]) -> None:
    assert sorted(allowed() - used - ELSEWHERE) == []


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("SCAN", 0),
        ("CONFIG", "GET", "*"),
        ("CONFIG", "SET", "maxmemory", "0"),
        ("ACL", "LIST"),
        ("ACL", "WHOAMI"),
        ("CLIENT", "LIST"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("CLIENT", "PAUSE", "10"),
        ("SHUTDOWN", "NOSAVE"),
        ("SAVE",),
        ("BGREWRITEAOF",),
        ("REPLICAOF", "NO", "ONE"),
        ("MIGRATE", "127.0.0.1", "1", "twinspire:x", "0", "10"),
        ("MODULE", "LIST"),
        ("MONITOR",),
        ("SCRIPT", "FLUSH"),
        ("FUNCTION", "LIST"),
        ("DUMP", "twinspire:x"),
        ("RESTORE", "twinspire:x", "0", "x"),
        ("RENAME", "twinspire:x", "twinspire:y"),
        ("PUBLISH", "twinspire:x", "y"),
        ("CLUSTER", "NODES"),
        ("GET", "other:key"),
        ("SET", "other:key", "1"),
        ("EVAL", "return redis.call('FLUSHALL')", "0"),
        ("EVAL", "return redis.call('GET', 'other:key')", "0"),
    ],
    ids=lambda command: " ".join(map(str, command[:2])),
)
def test_anything_else_is_denied(redis: Guarded, command: tuple[str, ...]) -> None:
    with pytest.raises((NoPermissionError, ResponseError), match=r"(?i)no permission|ACL failure"):
        redis.user.execute_command(*command)


@pytest.mark.parametrize("user", [("default", ""), ("twinspire", "guessed"), ("admin", ""), ("nobody", "x")])
def test_nobody_comes_in_without_a_password(redis: Guarded, user: tuple[str, str]) -> None:
    with pytest.raises(AuthenticationError):
        redis.user.execute_command("AUTH", *user)


def test_the_health_check_may_ping_and_no_more(redis: Guarded) -> None:
    from redis import Redis

    with Redis(port=redis.process.port, username="health", password="none") as health:
        assert health.ping()
        with pytest.raises(NoPermissionError):
            health.get("twinspire:collections")


def test_the_settings_of_the_compose_file_hold(redis: Guarded) -> None:
    told = redis.admin.config_get("*")

    assert (told["appendonly"], told["appendfsync"]) == ("yes", "everysec")
    assert told["maxmemory-policy"] == "noeviction"
    assert int(told["maxmemory"]) == 2 << 30
