"""A Redis Cluster, used as if it were one Redis: commands go to the nodes that hold their keys, all at once.

What the cluster says of itself is followed: a slot that moved, a replica that stepped in. What passes is
waited out for a moment, so that callers see neither; what lasts is told at once.
"""

import itertools
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
    TryAgainError,
)

from retrieval.deadlines import time_left_s
from retrieval.redis_errors import settled, translated
from retrieval.redis_exchange import Command, NotSent, exchange
from retrieval.redis_topology import REFUSALS, Address, Pools, Topology

# How long a fault that may pass is waited out, from its beginning: longer than a slot's move, shorter than
# anybody likes to wait. A replica that steps in takes longer: meanwhile callers are told to retry.
PATIENCE_S = 1.0
PAUSE_S = 0.02  # before trying again, doubled each time
MAX_PAUSE_S = 0.2
MAX_ATTEMPTS = 50  # nodes that name one another as owners of a slot do so only while it moves

# Commands without a key go to any node.
KEYLESS = frozenset({"INFO", "PING", "CLUSTER", "CONFIG", "ACL"})
SCRIPTS = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"})
# What may be asked again after a connection was lost, for asking changes nothing.
READS = KEYLESS | {"VSIM", "VCARD", "VEMB", "HGET", "HMGET", "HGETALL", "HLEN", "GET", "ZRANGE"}
READS |= {"ZCARD", "ZCOUNT", "SMEMBERS", "XRANGE", "MEMORY"}
_PASSING = (ClusterDownError, MasterDownError, TryAgainError, BusyLoadingError, ReadOnlyError, NotSent)


@lru_cache(maxsize=4096)
def _slot_of_key(key: str | bytes) -> int:
    return int(key_slot(key.encode() if isinstance(key, str) else key))


def slot_of_command(command: Command) -> int | None:
    """Return the slot that a command's key lies in; None if it has no key.

    >>> slot_of_command(("HGET", "{foo}:state", "count")), slot_of_command(("INFO", "server"))
    (12182, None)
    """
    name = str(command[0])
    if name in KEYLESS or (name in SCRIPTS and not int(command[2])):
        return None
    key = command[3] if name in SCRIPTS else command[2] if name == "MEMORY" else command[1]
    return _slot_of_key(key if isinstance(key, str | bytes) else str(key))


class RedisCluster:
    """The link to a Redis Cluster. Safe to use from several threads."""

    def __init__(self, seeds: Sequence[Address], **settings: Any) -> None:
        """Connect to nothing yet.

        Args:
            seeds: some of its nodes; the others are learned from them.
            settings: of each connection, as redis-py's pool takes them.
        """
        self._pools = Pools(seeds, **settings)
        self._topology = Topology(self._pools)
        self._trouble_since: float | None = None

    def call_everywhere(self, *command: str) -> list[Any]:
        """Run a command without a key at each node that serves some slot.

        Raises:
            TwinspireError: as `run` does, if one of them fails.
        """
        if not self._topology.primaries:
            self._refresh()
        targets = self._topology.primaries
        replies = [reply for (reply,) in exchange([(self._pools.to(each), [command]) for each in targets])]
        fault = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if fault is not None or not replies:
            raise translated(fault or ConnectionError("no node of the cluster answers"))
        return replies

    def run(self, commands: Sequence[Command], *, lanes: int = 1, partial: bool = False) -> list[Any]:
        """Run many commands, each at the node that holds its key.

        Args:
            commands: in any number; those of one key run in order if `lanes` is 1.
            lanes: connections to each node to spread them over.
            partial: do not fail where a node cannot be reached, and do not wait for it either.

        Returns:
            The replies, in the order of the commands; if `partial`, the BackendUnavailable of a command
            in the place of its reply.

        Raises:
            TwinspireError: as `redis_errors.translated` says, for the first command that failed.
        """
        replies: list[Any] = [None] * len(commands)
        waiting: dict[int, Address | None] = dict.fromkeys(range(len(commands)))
        pause = 0.0 if partial else PAUSE_S
        for attempt in itertools.count():
            self._round(commands, waiting, lanes, replies)
            waiting, passing = self._unanswered(commands, waiting, replies)
            if not self._worth_trying(waiting, passing, attempt, partial):
                break
            if passing:
                time.sleep(min(pause, MAX_PAUSE_S))
                pause *= 2
        return [settled(reply, partial) for reply in replies]

    def _round(
        self, commands: Sequence[Command], waiting: dict[int, Address | None], lanes: int, replies: list[Any]
    ) -> None:
        """Send each command to where its slot is, or where a node said to ask, and fill in its reply."""
        groups: dict[tuple[Address, bool], list[int]] = {}
        for at, asked in waiting.items():
            owner = asked or self._topology.owner(slot_of_command(commands[at]))
            if owner is None:
                replies[at] = ClusterDownError("CLUSTERDOWN no node is known to serve the slot")
            else:
                groups.setdefault((owner, asked is not None), []).append(at)
        parts = [
            (owner, asking, places[lane::lanes])
            for (owner, asking), places in groups.items()
            for lane in range(min(lanes, len(places)))
        ]
        batches = []
        for owner, asking, places in parts:
            own = [commands[at] for at in places]
            batches.append((self._pools.to(owner), _asking(own) if asking else own))
        for (_, asking, places), answers in zip(parts, exchange(batches), strict=True):
            for at, reply in zip(places, answers[1::2] if asking else answers, strict=True):
                replies[at] = reply

    def _unanswered(
        self, commands: Sequence[Command], sent: dict[int, Address | None], replies: Sequence[Any]
    ) -> tuple[dict[int, Address | None], bool]:
        """Tell which commands are to be sent again, and where; and whether something must pass before."""
        again: dict[int, Address | None] = {}
        moved = passing = False
        for at in sent:
            reply = replies[at]
            if isinstance(reply, MovedError):
                slot = slot_of_command(commands[at])
                if slot is not None and reply.host:
                    self._topology.learn(slot, (reply.host, reply.port))
                again[at] = None
                moved = True
            elif isinstance(reply, AskError):
                again[at] = (reply.host, reply.port)
            elif isinstance(reply, Exception) and _may_pass(commands[at], reply):
                again[at] = None
                passing = True
        if moved or passing:
            self._refresh()
        return again, passing

    def _worth_trying(
        self, waiting: dict[int, Address | None], passing: bool, attempt: int, partial: bool
    ) -> bool:
        """Tell whether to try again: once in any case, then until the trouble has lasted for a while."""
        now = time.perf_counter()
        if not passing:
            self._trouble_since = None
        elif self._trouble_since is None:
            self._trouble_since = now
        if not waiting or time_left_s() == 0 or attempt == MAX_ATTEMPTS:
            return False
        patience_s = 0.0 if partial else PATIENCE_S
        return attempt == 0 or self._trouble_since is None or now - self._trouble_since < patience_s

    def _refresh(self) -> None:
        try:
            self._topology.refresh()
        except RedisError as error:
            raise translated(error) from None

    def close(self) -> None:
        """Close all connections."""
        self._pools.close()


def _asking(commands: Sequence[Command]) -> list[Command]:
    """Put ASKING before each command: this node is to answer for a slot that is not yet its own."""
    return [each for command in commands for each in (("ASKING",), command)]


def _may_pass(command: Command, error: Exception) -> bool:
    """Tell whether a command that failed is to be tried again."""
    if isinstance(error, REFUSALS):
        return False
    if isinstance(error, _PASSING):
        return True
    # The connection was lost on the way: a write may have happened.
    lost = isinstance(error, ConnectionError | OSError) and not isinstance(error, TimeoutError)
    return lost and str(command[0]) in READS
