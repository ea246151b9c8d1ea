"""The Redis group of faults, through a real server and a real Redis: what a client is told."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.twinspire.v1 import filters_pb2
from retrieval.backend_errors import RedisAccessDenied, RedisUnusable
from retrieval.collections import create_collection
from retrieval.errors import BackendUnavailable, StorageFull, TwinspireError
from retrieval.item_checks import Item
from retrieval.item_writes import upsert_items
from retrieval.local_redis import LocalRedis, free_port
from retrieval.publishing import promote
from retrieval.redis_server import RedisServer
from tests.redis.serving import WORD, Served, failure_of, served, until
from tests.server.running import Failure
from tests.server.workspaces import build_version

UNAVAILABLE = ("UNAVAILABLE", "BACKEND_UNAVAILABLE")
DENIED = ("INTERNAL", "BACKEND_ACCESS_DENIED")
LOST = ("FAILED_PRECONDITION", "INDEX_LOST")
UNUSABLE = ("FAILED_PRECONDITION", "REDIS_UNUSABLE")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
ALL_COMMANDS = "~* &* +@all"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A server over an index in a Redis that the test may break."""
    with served(tmp_path) as running:
        yield running


def refused(work: Callable[[], Any]) -> Failure:
    with pytest.raises(grpc.RpcError) as caught:
        work()
    failure = failure_of(caught.value)
    assert "/" not in failure.message
    assert "Traceback" not in failure.message
    return failure


def told(work: Callable[[], Any]) -> tuple[str, str]:
    failure = refused(work)
    return failure.code.name, failure.reason


def index_key(server: Served, what: str = "vectors") -> bytes:
    (key,) = server.admin.keys(f"twinspire:*:{what}")
    return bytes(key)


def test_a_redis_that_is_down_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    with served(tmp_path, *DURABLE) as server:
        server.redis.kill()

        assert told(server.best) == UNAVAILABLE

        server.redis.start()
        assert until(lambda: server.best() == WORD) < 5


def test_a_redis_that_is_down_at_the_start_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    with served(tmp_path, *DURABLE) as server, server.restarted(while_it_is=server.redis.kill):
        assert told(server.best) == UNAVAILABLE
        assert not server.is_ready()

        server.redis.start()
        assert until(lambda: server.best() == WORD) < 5
        assert server.is_ready()


def test_too_many_clients_are_unavailable(server: Served) -> None:
    server.admin.config_set("maxclients", 1)
    server.admin.client_kill_filter(_type="normal", skipme=True)

    assert told(server.best) == UNAVAILABLE

    server.admin.config_set("maxclients", 100)
    assert server.best() == WORD


def test_a_paused_redis_exceeds_the_deadline_and_no_more(server: Served) -> None:
    server.admin.client_pause(1500)

    started = time.monotonic()
    code = refused(lambda: server.best(timeout_s=0.4)).code

    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 1.0
    assert until(lambda: server.best(timeout_s=1.0) == WORD) < 4


def test_a_stopped_redis_holds_no_search_beyond_its_deadline(server: Served) -> None:
    os.kill(server.redis.pid, signal.SIGSTOP)
    for _ in range(5):
        assert refused(lambda: server.best(timeout_s=0.2)).code == grpc.StatusCode.DEADLINE_EXCEEDED
    os.kill(server.redis.pid, signal.SIGCONT)

    assert until(lambda: server.best(timeout_s=0.5) == WORD) < 2


def test_a_wrong_password_is_internal_and_said_in_the_log_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        served(tmp_path, url="redis://twinspire:wrong-secret@127.0.0.1:{port}") as server,
    ):
        assert not server.is_ready()
        assert told(server.best) == DENIED
        logged = str([vars(record) for record in caplog.records])
        assert "BACKEND_ACCESS_DENIED" in logged
        assert "wrong-secret" not in logged

        server.admin.execute_command(f"ACL SETUSER twinspire on >wrong-secret {ALL_COMMANDS}")
        assert until(lambda: server.best() == WORD) < 5


def test_a_command_that_the_access_list_forbids_is_internal(server: Served) -> None:
    server.admin.execute_command("ACL SETUSER default -vsim")

    assert told(server.best) == DENIED

    server.admin.execute_command("ACL SETUSER default +vsim")
    assert server.best() == WORD


def test_at_the_memory_limit_builds_are_exhausted_and_queries_answered(server: Served) -> None:
    server.admin.config_set("maxmemory", server.admin.info("memory")["used_memory"] // 2)

    with pytest.raises(StorageFull):
        server.build()
    assert server.best() == WORD


def test_a_build_that_did_not_fit_leaves_nothing_behind(server: Served) -> None:
    before = set(server.admin.keys("*"))
    server.admin.config_set("maxmemory", server.admin.info("memory")["used_memory"] // 2)
    with pytest.raises(StorageFull):
        server.build()

    assert set(server.admin.keys("*")) == before


def test_a_replica_answers_queries_and_its_writes_are_unavailable(server: Served) -> None:
    server.admin.replicaof("127.0.0.1", str(free_port()))

    with pytest.raises(BackendUnavailable):
        server.build()
    assert server.best() == WORD


def test_a_redis_that_loads_its_data_is_unavailable(tmp_path: Path) -> None:
    slowly = ("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
    with served(tmp_path, *slowly) as server:
        server.admin.mset({f"other:{number}": "x" * 2000 for number in range(200)})
        server.admin.save()
        server.redis.kill()
        server.redis.start()

        failure = refused(server.best)

        assert (failure.code.name, failure.reason) == UNAVAILABLE
        assert "loading" in failure.message

        assert until(lambda: server.best() == WORD) < 10


def test_a_cluster_without_its_slots_is_unavailable() -> None:
    with LocalRedis("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as redis:
        server = RedisServer(redis.url)

        with pytest.raises(BackendUnavailable):
            until_checked(server)


def until_checked(server: RedisServer) -> None:
    until(lambda: server.call("PING"))
    server.check()


def test_a_redis_that_cannot_persist_answers_queries_and_its_writes_are_unavailable(server: Served) -> None:
    (server.redis.folder / "dump.rdb").mkdir()  # in the place of the file
    server.admin.config_set("save", "3600 1")
    server.admin.bgsave()
    until(lambda: server.admin.info("persistence")["rdb_last_bgsave_status"] == "err")

    with pytest.raises(BackendUnavailable, match="cannot persist"):
        server.build()
    assert server.best() == WORD


def test_a_flushed_index_is_lost(server: Served) -> None:
    server.admin.flushall()

    assert told(server.best) == LOST


def test_a_filtered_search_of_a_flushed_index_finds_it_lost(server: Served) -> None:
    condition = filters_pb2.Condition(match=filters_pb2.Match(attribute="pair"))
    condition.match.any_of.add().bool_value = True
    found = server.running.find(WORD, filter=filters_pb2.Filter(must=[condition]))
    assert found.hits
    server.admin.flushall()

    unseen = filters_pb2.Filter(must_not=[condition])
    assert told(lambda: server.running.find(WORD, filter=unseen)) == LOST


def test_an_evicted_index_is_lost(server: Served) -> None:
    server.admin.delete(index_key(server))

    assert told(server.best) == LOST


def test_a_lost_index_is_served_again_once_it_was_built_again(server: Served) -> None:
    server.admin.flushall()
    version = server.build()
    server.promote(version)

    assert until(lambda: server.search().index_version == version) < 5
    assert server.best() == WORD


def test_an_index_that_is_lost_at_the_start_is_a_failed_precondition(server: Served) -> None:
    with server.restarted(while_it_is=server.admin.flushall):
        assert told(server.best) == LOST
        assert not server.is_ready()


def test_a_key_of_another_type_is_a_failed_precondition(server: Served) -> None:
    key = index_key(server)
    server.admin.delete(key)
    server.admin.set(key, "not vectors")

    assert told(server.best) == UNUSABLE


class Impostor:
    """Something that listens on loopback, and answers whatever comes with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1 << 16):
                connection.sendall(self._answer * data.count(b"*"))  # one for each command

    def close(self) -> None:
        self._socket.close()


OLD = b"redis_version:7.4.1\r\ncluster_enabled:0\r\n"


@pytest.mark.parametrize(
    "answer", [b"$%d\r\n%s\r\n" % (len(OLD), OLD), b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n"]
)
def test_what_has_no_vector_sets_or_is_no_redis_is_a_failed_precondition(answer: bytes) -> None:
    impostor = Impostor(answer)
    try:
        with pytest.raises(RedisUnusable):
            RedisServer(impostor.url).check()
    finally:
        impostor.close()


def test_a_server_over_what_is_no_redis_is_not_ready_and_says_why(tmp_path: Path) -> None:
    impostor = Impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with served(tmp_path, url=impostor.url) as server:
        assert told(server.best) == UNUSABLE
        assert not server.is_ready()
    impostor.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", ""])
def test_an_address_that_is_none_of_redis_is_refused(url: str) -> None:
    with pytest.raises(RedisUnusable):
        RedisServer(url)


def test_no_error_holds_the_password_or_the_address() -> None:
    server = RedisServer(f"redis://someone:secret-word@127.0.0.1:{free_port()}")
    with pytest.raises(TwinspireError) as caught:
        server.check()

    assert "secret-word" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


def test_a_refused_password_is_not_mistaken_for_a_passing_fault() -> None:
    with LocalRedis("--requirepass", "right") as redis, pytest.raises(RedisAccessDenied):
        RedisServer(redis.url.replace("//", "//:wrong@")).check()


def test_a_redis_that_is_down_holds_up_no_collection_elsewhere(tmp_path: Path) -> None:
    with served(tmp_path, *DURABLE) as server:
        create_collection(server.ws, "beside")
        upsert_items(server.ws, "beside", [Item("south", text="south")])
        server.redis.kill()
        with server.restarted(while_it_is=lambda: None):
            assert told(server.best) == UNAVAILABLE

            version = build_version(server.ws, collection="beside")
            promote(server.ws, "beside", version)
            until(lambda: server.running.ids("south", collection="beside") == ["south"])
            assert told(server.best) == UNAVAILABLE
