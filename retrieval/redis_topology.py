"""Where the slots of a Redis Cluster are, and the connections to its nodes."""

import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import redis
from redis.exceptions import AuthenticationError, AuthorizationError

from retrieval.redis_exchange import exchange
from retrieval.redis_layout import SLOTS

Address: TypeAlias = tuple[str, int]

REFUSALS = (AuthenticationError, AuthorizationError)  # no waiting mends them


class Topology:
    """Which node serves which slot, as far as is known. Safe to use from several threads."""

    def __init__(self, pools: "Pools") -> None:
        self._pools = pools
        self._owners: list[Address | None] = [None] * SLOTS
        self._lock = threading.Lock()
        self._turns = itertools.count()

    @property
    def primaries(self) -> list[Address]:
        """The nodes that serve some slot."""
        return list(dict.fromkeys(owner for owner in self._owners if owner is not None))

    def owner(self, slot: int | None) -> Address | None:
        """Return who serves a slot; without a slot, somebody."""
        if slot is not None:
            return self._owners[slot]
        primaries = self.primaries
        return primaries[next(self._turns) % len(primaries)] if primaries else None

    def learn(self, slot: int, owner: Address) -> None:
        """Take a node's word for where a slot is."""
        self._owners[slot] = owner

    def refresh(self) -> None:
        """Ask the nodes, one after the other, who serves what; nothing changes if none of them answers.

        Raises:
            RedisError: if one refuses to say.
        """
        if not self._lock.acquire(blocking=False):  # somebody asks already
            with self._lock:
                return
        try:
            known = self._pools.known
            start = next(self._turns)
            for at in range(len(known)):
                address = known[(start + at) % len(known)]
                if self._ask(address):
                    return
        finally:
            self._lock.release()

    def _ask(self, address: Address) -> bool:
        ((reply,),) = exchange([(self._pools.to(address), [("CLUSTER", "SLOTS")])])
        if isinstance(reply, REFUSALS) or "NOPERM" in str(reply)[:10]:
            raise reply
        if isinstance(reply, Exception):
            return False
        owners: list[Address | None] = [None] * SLOTS
        for first, last, primary, *replicas in reply:
            owners[first : last + 1] = [_address(primary, address)] * (last + 1 - first)
            self._pools.remember(_address(node, address) for node in (primary, *replicas))
        self._owners = owners
        return True


def _address(node: Sequence[Any], asked: Address) -> Address:
    """Read an address from CLUSTER SLOTS; a node that does not know its own host is where it was asked."""
    host = node[0].decode() if node[0] else asked[0]
    return host, int(node[1])


class Pools:
    """The connections to each node. Safe to use from several threads."""

    def __init__(self, seeds: Sequence[Address], **settings: Any) -> None:
        """Take the nodes that are known at first, and the settings of every connection."""
        self._settings = settings
        self._pools: dict[Address, redis.ConnectionPool] = {}
        self._known = dict.fromkeys(seeds)
        self._lock = threading.Lock()

    @property
    def known(self) -> list[Address]:
        """Every node that was ever heard of."""
        return list(self._known)

    def remember(self, addresses: Iterable[Address]) -> None:
        """Hear of nodes."""
        self._known.update(dict.fromkeys(addresses))

    def to(self, address: Address) -> redis.ConnectionPool:
        """Return the connections to a node."""
        with self._lock:
            if address not in self._pools:
                host, port = address
                self._pools[address] = redis.ConnectionPool(**{**self._settings, "host": host, "port": port})
            return self._pools[address]

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.disconnect()
