"""A real Redis Cluster on loopback: three primaries, and a replica of each."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeAlias

import redis
from redis.exceptions import RedisError

from retrieval.errors import BackendUnavailable
from retrieval.local_redis import LocalRedis, free_port

User: TypeAlias = tuple[str, str] | None  # name and password

SLOTS = 16384
# How long a node may be silent until the others think it failed.
NODE_TIMEOUT_MS = 1000
START_TIMEOUT_S = 20.0
PRIMARIES = 3
TRIES = 3


class Node:
    """One node of the cluster."""

    def __init__(self, arguments: Sequence[str] = (), admin: User = None) -> None:
        self._admin = admin
        self.bus_port = free_port()
        self.process = LocalRedis(
            "--cluster-enabled", "yes",
            "--cluster-port", str(self.bus_port),
            "--cluster-node-timeout", str(NODE_TIMEOUT_MS),
            # The parts that are left answer, and a replica steps in whatever the age of its data.
            "--cluster-require-full-coverage", "no",
            "--cluster-replica-validity-factor", "0",
            "--repl-diskless-sync-delay", "0",
            "--repl-ping-replica-period", "1",
            *arguments,
        )  # fmt: skip
        self.client: Any = None
        self.is_running = False
        self.id = ""

    def start(self) -> None:
        """Start the process."""
        self.process.start()
        self.is_running = True
        name, password = self._admin or (None, None)
        self.client = redis.Redis(
            port=self.process.port, username=name, password=password, socket_timeout=5.0
        )
        wait_until(self._answers)
        self.id = self.client.execute_command("CLUSTER MYID").decode()

    def _answers(self) -> bool:
        return bool(self.client.ping())

    def call(self, *command: str | int | bytes) -> Any:
        """Run a command at this node, and return the raw reply."""
        connection = self.client.connection_pool.get_connection()
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            self.client.connection_pool.release(connection)

    def kill(self) -> None:
        """End the process as a crash would."""
        self.is_running = False
        self.process.kill()

    def stop(self) -> None:
        """End the process, and remove what it wrote."""
        self.is_running = False
        if self.client is not None:
            self.client.close()
        self.process.stop()


class LocalCluster:
    """Three primaries, each with a replica. Use as a context manager."""

    def __init__(self, *arguments: str, admin: User = None) -> None:
        self._arguments = arguments
        self.admin = admin
        self._choose_ports()

    def _choose_ports(self) -> None:
        self.primaries = [Node(self._arguments, self.admin) for _ in range(PRIMARIES)]
        self.replicas = [Node(self._arguments, self.admin) for _ in range(PRIMARIES)]

    @property
    def nodes(self) -> list[Node]:
        """All nodes."""
        return [*self.primaries, *self.replicas]

    @property
    def url(self) -> str:
        """The addresses of all nodes, in one url."""
        return "redis://" + ",".join(f"127.0.0.1:{node.process.port}" for node in self.nodes)

    def __enter__(self) -> Self:
        for _ in range(TRIES):
            try:
                self._start()
                return self
            except (BackendUnavailable, TimeoutError):
                self.stop()  # another process may have taken a port that was free a moment ago
                self._choose_ports()
            except BaseException:
                self.stop()
                raise
        raise TimeoutError(f"no cluster after {TRIES} tries")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all processes."""
        for node in self.nodes:
            node.stop()

    def _start(self) -> None:
        for node in self.nodes:
            node.start()
        share = SLOTS / len(self.primaries)
        for place, node in enumerate(self.primaries):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
            node.call("CLUSTER", "ADDSLOTSRANGE", round(place * share), round((place + 1) * share) - 1)
        first = self.primaries[0]
        for node in self.nodes[1:]:
            node.call("CLUSTER", "MEET", "127.0.0.1", first.process.port, first.bus_port)
        wait_until(self._all_know_all)
        for replica, primary in zip(self.replicas, self.primaries, strict=False):
            replica.call("CLUSTER", "REPLICATE", primary.id)
        self.settle()

    def _all_know_all(self) -> bool:
        return all(len(table(node)) == len(self.nodes) for node in self.nodes)

    def settle(self) -> None:
        """Wait until every node that runs thinks that the cluster is whole, and replicas are in step."""
        wait_until(self._is_whole)

    def _is_whole(self) -> bool:
        running = [node for node in self.nodes if node.is_running]
        for node in running:
            told = node.call("CLUSTER", "INFO").decode()
            if "cluster_state:ok" not in told or "cluster_slots_ok:16384" not in told:
                return False
            replication = node.client.info("replication")
            if replication["role"] == "slave" and replication["master_link_status"] != "up":
                return False
        return len({frozenset(owners(node).items()) for node in running}) == 1

    def primary_of(self, slot: int) -> Node:
        """Return the node that serves a slot now, as the nodes that run say."""
        witness = next(node for node in self.nodes if node.is_running)
        port = next(port for (first, last), port in owners(witness).items() if first <= slot <= last)
        return next(node for node in self.nodes if node.process.port == port)

    def move_slot(self, slot: int, target: Node, *, pause_s: float = 0.0, user: User = None) -> int:
        """Move a slot with its keys to another node while it serves, as redis-cli's reshard does.

        Args:
            slot: which.
            target: where to.
            pause_s: to wait before each step, so that every step is seen by others.
            user: as whom the keys are brought to the other node.

        Returns:
            How many keys were moved.
        """
        source = self.primary_of(slot)
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        moved = 0
        while keys := source.call("CLUSTER", "GETKEYSINSLOT", slot, 10):
            for key in keys:
                time.sleep(pause_s)
                source.call("MIGRATE", "127.0.0.1", target.process.port, key, 0, 5000, *_auth(user))
                moved += 1
        time.sleep(pause_s)
        for node in (target, source, *self.primaries):
            node.call("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        return moved


def _auth(user: User) -> tuple[str, ...]:
    return ("AUTH2", *user) if user else ()


def table(node: Node) -> list[str]:
    """Return what a node knows of the cluster, a line for each node that answered it."""
    lines = node.call("CLUSTER", "NODES").decode().splitlines()
    return [line for line in lines if "handshake" not in line and "noaddr" not in line]


def owners(node: Node) -> dict[tuple[int, int], int]:
    """Return who serves which slots, as a node sees it: (first, last) -> port."""
    return {(first, last): primary[1] for first, last, primary, *_ in node.call("CLUSTER", "SLOTS")}


def wait_until(condition: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> None:
    """Ask again and again until a condition holds; a Redis that does not answer yet is asked again."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with suppress(RedisError, OSError):
            if condition():
                return
        time.sleep(0.02)
    raise TimeoutError(f"still not so after {timeout_s} s")
