from collections.abc import Iterator

import pytest

from retrieval.redis_server import use_redis
from tests.redis.local_cluster import LocalCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three primaries and three replicas; a module that breaks it has it to itself."""
    with LocalCluster() as running:
        yield running


@pytest.fixture
def redis_cluster(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """Let everything in this process use the cluster."""
    use_redis(cluster.url)
    yield cluster
    use_redis("")
