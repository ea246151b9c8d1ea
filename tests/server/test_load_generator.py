"""The load generator's own HTTP/2, against a real server."""

import asyncio
import time

import numpy as np
import pytest

from protos.twinspire.v1 import content_pb2, search_pb2
from server.threads import event_loop_runner
from tests.server.running import Running
from tests.server.workspaces import COLLECTION, direction
from twinspire.bench_http2 import LOST, Caller, connect, framed

_SEARCH = "/twinspire.v1.SearchService/Search"
_BATCH_SEARCH = "/twinspire.v1.SearchService/BatchSearch"


def search(word: str = "north", **fields: object) -> search_pb2.SearchRequest:
    dense = content_pb2.DenseVector(f32le=direction(word).astype("<f4").tobytes())
    request = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(vector=dense))
    request.MergeFrom(search_pb2.SearchRequest(**fields))  # type: ignore[arg-type]
    return request


def call(running: Running, method: str, requests: list[bytes]) -> tuple[list[str], list[float]]:
    """Send all at once over one connection; return what failed, and the latencies of what did not."""
    failures: list[str] = []
    latencies: list[float] = []

    async def go() -> None:
        async with asyncio.timeout(20):
            await calls()

    async def calls() -> None:
        target = f"127.0.0.1:{running.server.port}"
        connection = await connect(target)
        caller = Caller(connection, method, target, 20)
        for request in requests:
            caller.call(framed(request), time.perf_counter(), latencies, failures.append)
        while len(failures) < len(requests):
            await asyncio.sleep(0.005)
        connection.close()

    event_loop_runner()(go())
    return failures, latencies


def test_many_calls_share_a_connection(running: Running) -> None:
    failures, latencies = call(running, _SEARCH, [search().SerializeToString()] * 300)

    assert failures == [""] * 300
    assert min(latencies) > 0
    assert running.metric("twinspire_requests_total", method="Search", code="OK") == 300


def test_failures_are_told(running: Running) -> None:
    requests = [search(limit=limit).SerializeToString() for limit in (1, 0, 1)]

    failures, latencies = call(running, _SEARCH, requests)

    assert sorted(failures) == ["", "", "FAILED"]
    assert len(latencies) == 2


@pytest.mark.parametrize("batches", [1, 20])
def test_messages_larger_than_the_windows_arrive(running: Running, batches: int) -> None:
    fill = search_pb2.SearchRequest(experiment_key="x" * 4000)
    batch = search_pb2.BatchSearchRequest(requests=[search(limit=1)] * 100 + [fill] * 100)
    assert batch.ByteSize() > 400_000

    failures, _ = call(running, _BATCH_SEARCH, [batch.SerializeToString()] * batches)

    assert failures == [""] * batches


def test_a_lost_connection_fails_what_is_under_way() -> None:
    async def go() -> list[str]:
        failures: list[str] = []
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = await connect(f"127.0.0.1:{port}")
        Caller(connection, _SEARCH, "here", 1).call(framed(b""), 0.0, [], failures.append)
        while not failures:
            await asyncio.sleep(0.005)
        server.close()
        return failures

    assert asyncio.run(asyncio.wait_for(go(), 20)) == [LOST]


def test_answers_are_read_to_their_last_byte(running: Running) -> None:
    rng = np.random.default_rng(0)
    requests = [
        search(word, limit=int(rng.integers(1, 1000))).SerializeToString() for word in ("north", "up") * 40
    ]

    failures, _ = call(running, _SEARCH, requests)

    assert failures == [""] * 80
