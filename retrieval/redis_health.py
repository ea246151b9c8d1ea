"""What an administrator should know of a Redis: version, faults, memory, eviction, persistence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_items import RedisItems
from retrieval.redis_server import RedisServer, is_patched

# An item's memory is that of these many, times the number there is.
SAMPLED_ITEMS = 100
FULL_FROM = 0.85  # of maxmemory

CRASHES_ON_COUNT = (8, 0, 2)  # up to here VSIM with a COUNT of 2^32 ends Redis; we never send one


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that is not as it should be, and what mends it."""

    found: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisHealth:
    """A Redis, or all primaries of a cluster."""

    version: str  # of the oldest node
    nodes: int
    is_cluster: bool
    used_bytes: int  # of all nodes
    max_bytes: int  # of all nodes; 0 = no limit
    eviction_policy: str
    append_only: bool  # at each node
    collection_bytes: Mapping[str, int]  # vectors and items, the latter estimated from some
    concerns: Sequence[Concern]


def known_faults(version: Sequence[int]) -> list[str]:
    """Name the faults that a version is known to have.

    >>> known_faults((8, 8, 2)), known_faults((8, 10, 0)) == known_faults((8, 2, 3))
    ([], True)
    """
    found = []
    if not is_patched(version):
        found.append("deleting a vector while it is searched may crash it (use after free)")
    if tuple(version) <= CRASHES_ON_COUNT:
        found.append("VSIM with a huge COUNT crashes it")
    return found


def redis_health(server: RedisServer) -> RedisHealth:
    """Examine a Redis that was checked.

    Raises:
        TwinspireError: as `redis_errors.translated` says.
    """
    memory = server.informations("memory")
    persistence = server.informations("persistence")
    policies = sorted({node["maxmemory_policy"] for node in memory})
    limits = [int(node["maxmemory"]) for node in memory]
    return RedisHealth(
        version=".".join(map(str, server.version)),
        nodes=len(memory),
        is_cluster=server.is_cluster,
        used_bytes=sum(int(node["used_memory"]) for node in memory),
        max_bytes=sum(limits) if all(limits) else 0,
        eviction_policy=", ".join(policies),
        append_only=all(node["aof_enabled"] == "1" for node in persistence),
        collection_bytes={name: _bytes(server, name) for name in RedisCatalog(server).collections()},
        concerns=[*_of_version(server), *_of_memory(memory), *_of_persistence(persistence)],
    )


def _of_version(server: RedisServer) -> list[Concern]:
    faults = known_faults(server.version)
    if not faults:
        return []
    told = ".".join(map(str, server.version))
    return [Concern(f"Redis {told}: {'; '.join(faults)}", "upgrade Redis to 8.8.2, 8.10.1 or later")]


def _of_memory(nodes: Sequence[Mapping[str, str]]) -> list[Concern]:
    found = []
    policies = {node["maxmemory_policy"] for node in nodes} - {"noeviction"}
    if policies:
        found.append(
            Concern(
                f"eviction policy {', '.join(sorted(policies))}: Redis may drop parts of an index",
                "set maxmemory-policy noeviction",
            )
        )
    if any(node["maxmemory"] == "0" for node in nodes):
        found.append(Concern("no memory limit: Redis grows until the system ends it", "set maxmemory"))
    for node in nodes:
        limit, used = int(node["maxmemory"]), int(node["used_memory"])
        if limit and used > FULL_FROM * limit:
            remedy = "raise maxmemory, add nodes, delete old versions, or store the vectors as sq8"
            found.append(Concern(f"{used / limit:.0%} of a node's memory are used", remedy))
    return found


def _of_persistence(nodes: Sequence[Mapping[str, str]]) -> list[Concern]:
    found = []
    if any(node["aof_enabled"] == "0" for node in nodes):
        remedy = "set appendonly yes; without, a restart loses every index: build them again"
        found.append(Concern("no append-only file", remedy))
    written = [node.get("aof_last_write_status", "ok") for node in nodes]
    saved = [node.get("rdb_last_bgsave_status", "ok") for node in nodes]
    if {*written, *saved} != {"ok"}:
        found.append(Concern("the last write to disk failed", "see Redis's log: is its disk full?"))
    return found


def _bytes(server: RedisServer, collection: str) -> int:
    """Sum up what the vectors of all versions take, and about what the items do."""
    catalog = RedisCatalog(server)
    versions = catalog.versions(collection)
    vectors = [key for version in versions for key in catalog.vector_keys(collection, version).all()]
    items = RedisItems(server, collection, max(1, catalog.partitions(collection)))
    count = items.count()
    sample = items.keys_of_some(SAMPLED_ITEMS)
    sizes = server.run([("MEMORY", "USAGE", key) for key in [*vectors, *sample]])
    known = [int(size or 0) for size in sizes]
    of_items = sum(known[len(vectors) :]) * count // len(sample) if sample else 0
    return sum(known[: len(vectors)]) + of_items
