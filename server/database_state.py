"""How the database behind the indexes is, for GetServerInfo. Blocks: use a thread."""

import time

from protos.twinspire.v1 import server_pb2 as pb
from retrieval.deadlines import work_until
from server.failures import known

# An administrator waits; whoever only asks for the limits should not wait long.
_TIMEOUT_S = 2.0


def redis_state() -> tuple[str, pb.DatabaseState]:
    """Examine the Redis of this process; return its version, and how it is. Never raises."""
    # Loaded only where an index is in Redis.
    from retrieval.redis_health import redis_health
    from retrieval.redis_server import redis_server

    try:
        with work_until(time.perf_counter() + _TIMEOUT_S):
            health = redis_health(redis_server())
    except Exception as error:
        return "", pb.DatabaseState(fault=known("database state", error).reason)
    return health.version, pb.DatabaseState(
        nodes=health.nodes,
        cluster=health.is_cluster,
        used_bytes=health.used_bytes,
        max_bytes=health.max_bytes,
        eviction_policy=health.eviction_policy,
        append_only=health.append_only,
        collection_bytes=health.collection_bytes,
        concerns=[concern.found for concern in health.concerns],
    )
