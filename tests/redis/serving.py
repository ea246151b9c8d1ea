"""Real servers over collections whose index is in Redis, and what a Redis does when it is not well."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis import Redis

from protos.twinspire.v1 import search_pb2
from retrieval.index_types import IndexParameters, choose_parameters
from retrieval.local_redis import LocalRedis
from retrieval.publishing import promote
from retrieval.redis_server import use_redis
from retrieval.workspace import Workspace
from tests.server.running import Running, failure_of, run_server
from tests.server.workspaces import COLLECTION, build_version, make_workspace

WORD = "north"  # the item that a search for it finds first


def redis_parameters(partitions: int = 1) -> IndexParameters:
    """Return the parameters of an index in Redis, its effort set so that none is measured."""
    return choose_parameters(20, 13, overrides={"backend": "redis", "partitions": partitions, "effort": 50})


@dataclass
class Searching:
    """A server over an index in Redis."""

    ws: Workspace
    running: Running

    def best(self, timeout_s: float = 20.0, **params: Any) -> str:
        """Search, and return the id of the best hit."""
        return self.search(timeout_s, **params).hits[0].id

    def search(self, timeout_s: float = 20.0, **params: Any) -> search_pb2.SearchResponse:
        """Search by text."""
        request = search_pb2.SearchRequest(
            collection=COLLECTION,
            query=search_pb2.Query(text=WORD),
            params=search_pb2.SearchParams(**params),
        )
        return self.running.search.Search(request, timeout=timeout_s)

    def build(self, partitions: int = 1) -> str:
        """Build another version."""
        return build_version(self.ws, parameters=redis_parameters(partitions))

    def promote(self, version: str) -> None:
        """Make a version live, as another process would."""
        promote(self.ws, COLLECTION, version)

    def is_ready(self) -> bool:
        """Ask the server's health."""
        stub = health_pb2_grpc.HealthStub(self.running.channel)
        request = health_pb2.HealthCheckRequest(service="twinspire.v1.SearchService")
        status = stub.Check(request, timeout=5.0).status
        return bool(status == health_pb2.HealthCheckResponse.SERVING)

    @contextmanager
    def restarted(self, *, while_it_is: Callable[[], Any]) -> Iterator[None]:
        """Do something, and put a server in the place of this one that started afterwards."""
        before = self.running
        while_it_is()
        with closing(run_server(self.ws)) as server:
            self.running = next(server)
            yield
            self.running = before


@dataclass
class Served(Searching):
    """A server, the Redis behind it, and that Redis's administrator."""

    redis: LocalRedis
    admin: Any  # redis.Redis


@contextmanager
def served(root: Path, *arguments: str, url: str = "{url}") -> Iterator[Served]:
    """Run a Redis and a server over an index in it, for one test alone.

    Args:
        root: an empty folder.
        arguments: of Redis.
        url: the address that the server is told, with "{url}" and "{port}" filled in.
    """
    with LocalRedis(*arguments) as process, Redis(port=process.port) as admin:
        until(admin.ping)
        told = url.format(url=process.url, port=process.port)
        with searching(root, process.url, server_url=told) as server:
            yield Served(server.ws, server.running, process, admin)


@contextmanager
def searching(root: Path, url: str, *, partitions: int = 1, server_url: str = "") -> Iterator[Searching]:
    """Run a server over an index in a Redis, or a cluster, that runs.

    Args:
        root: an empty folder.
        url: the address of Redis.
        partitions: of the index.
        server_url: the address that the server is told, if another.
    """
    use_redis(url)
    try:
        with make_workspace(root / "workspace", parameters=redis_parameters(partitions)) as ws:
            use_redis(server_url or url)
            with closing(run_server(ws)) as server:
                yield Searching(ws, next(server))
    finally:
        use_redis("")


def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> float:
    """Ask again and again until a condition holds without an error; return the seconds it took."""
    started = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - started
        except Exception:
            if time.monotonic() - started > timeout_s:
                raise
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"still not so after {timeout_s} s")
        time.sleep(0.02)


__all__ = ["Served", "failure_of", "redis_parameters", "served", "until"]
