"""What doctor and GetServerInfo tell of Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from protos.twinspire.v1 import server_pb2
from retrieval.redis_health import known_faults, redis_health
from retrieval.redis_server import redis_server, use_redis
from tests.redis.serving import Served, served
from tests.server.workspaces import COLLECTION
from twinspire.checks import Check
from twinspire.client import Client
from twinspire.redis_checks import check_redis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, "--appendonly", "yes", "--maxmemory", "100mb") as running:
        yield running


def database(server: Served) -> server_pb2.Backend:
    info = server.running.info.GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=10.0)
    (backend,) = info.backends
    return backend


def checks() -> dict[str, Check]:
    return {check.name: check for check in check_redis()}


def test_the_server_tells_how_redis_is(server: Served) -> None:
    backend = database(server)

    assert backend.name == "redis"
    assert backend.version == server.admin.info("server")["redis_version"]
    assert backend.database.nodes == 1
    assert not backend.database.cluster
    assert backend.database.append_only
    assert backend.database.eviction_policy == "noeviction"
    assert backend.database.max_bytes == 100 << 20
    assert 0 < backend.database.used_bytes < backend.database.max_bytes


def test_the_client_tells_it_too(server: Served) -> None:
    with Client(f"127.0.0.1:{server.running.server.port}") as client:
        (backend,) = client.server_info().backends

    assert backend.database is not None
    assert backend.database.eviction_policy == "noeviction"
    assert set(backend.database.collection_bytes) == {COLLECTION}


def test_memory_is_told_for_each_collection(server: Served) -> None:
    keys = [key for key in server.admin.keys("*") if b":item:" in key or b":vectors" in key]
    true_bytes = sum(server.admin.memory_usage(key) for key in keys)

    told = database(server).database.collection_bytes

    assert set(told) == {COLLECTION}
    assert told[COLLECTION] == pytest.approx(true_bytes, rel=0.1)


def test_a_redis_that_is_down_is_told_and_the_rest_as_well(server: Served) -> None:
    server.redis.kill()

    backend = database(server)

    assert backend.database.fault == "BACKEND_UNAVAILABLE"
    assert backend.filtered_search


def test_what_is_wrong_is_told_with_what_mends_it(server: Served) -> None:
    server.admin.config_set("maxmemory-policy", "allkeys-lru")
    server.admin.config_set("appendonly", "no")
    server.admin.config_set("maxmemory", 0)

    concerns = {concern.found: concern.remedy for concern in redis_health(redis_server()).concerns}

    assert "set maxmemory-policy noeviction" in concerns.values()
    assert any("no append-only file" in found for found in concerns)
    assert any("no memory limit" in found for found in concerns)
    assert len(database(server).database.concerns) == len(concerns)


def test_a_redis_that_is_nearly_full_is_told(server: Served) -> None:
    server.admin.config_set("maxmemory", int(server.admin.info("memory")["used_memory"] * 1.05))

    found = [concern.found for concern in redis_health(redis_server()).concerns]

    assert any("of a node's memory are used" in each for each in found)


@pytest.mark.parametrize(
    ("version", "faults"),
    [
        ((8, 0, 2), 2),
        ((8, 0, 3), 1),
        ((8, 8, 1), 1),
        ((8, 8, 2), 0),
        ((8, 9, 9), 1),
        ((8, 10, 1), 0),
        ((9, 0, 0), 0),
    ],
)
def test_known_faults_of_a_version(version: tuple[int, ...], faults: int) -> None:
    assert len(known_faults(version)) == faults


def test_the_doctor_tells_how_redis_is(server: Served) -> None:
    found = checks()

    assert found["Redis"].found.startswith(server.admin.info("server")["redis_version"])
    assert "eviction policy noeviction, append-only file" in found["Redis keeps"].found
    assert "MiB" in found[f"{COLLECTION}: in Redis"].found


def test_the_doctor_says_nothing_where_no_redis_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    use_redis("")
    monkeypatch.delenv("TWINSPIRE_REDIS_URL", raising=False)
    monkeypatch.delenv("TWINSPIRE_REDIS_URL_FILE", raising=False)

    assert checks() == {}


def test_the_doctor_tells_a_wrong_password_without_it(server: Served) -> None:
    use_redis(server.redis.url.replace("//", "//someone:secret-word@"))

    found = checks()["Redis"]

    assert found.state == "failed"
    assert "BACKEND_ACCESS_DENIED" in found.found
    assert "TWINSPIRE_REDIS_URL" in found.remedy
    assert "secret-word" not in str(found)


def test_the_doctor_tells_a_redis_that_is_down() -> None:
    use_redis("redis://127.0.0.1:1")
    try:
        assert checks()["Redis"].state == "failed"
    finally:
        use_redis("")
