"""The same filter gives the same segments, whether SQLite or Redis's FILTER is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from retrieval.filter_sql import FilterSelection
from retrieval.filters import Filter
from retrieval.items import Item
from retrieval.opening import open_index
from retrieval.publishing import live_version
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_index import RedisIndex
from retrieval.redis_items import RedisItems
from retrieval.redis_rows import RedisSelection
from retrieval.redis_server import redis_server, use_redis
from retrieval.workspace import Workspace
from tests.redis.serving import redis_parameters
from tests.redis.test_redis_filters import FILTERS, IDS
from tests.server.workspaces import COLLECTION, make_workspace

ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"a": None},
    {"a": "x", "b": 1},
    {"a": "X", "b": 1.0, "t": True},
    {"a": ["x", "10", 3], "b": -2.5},
    {"a": 10, "b": "10", "n": False},
    {"a": "2026-01-01", "b": (1 << 53) + 1},
    {"a": "2026-02-01T10:00:00Z", "b": 1e300},
    {'é"quote': "é", "a b": 0, "#": [True, False]},
    {"x" * 40: 7, "a b": "x y", "t": []},
    {"b": [1, "1"], "n": 2, "#": ""},
]


@pytest.fixture(scope="module")
def both(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, RedisIndex]]:
    """A workspace and its index in Redis."""
    use_redis(redis_url)
    left = redis_server().call("KEYS", "twinspire:*")  # by tests before these
    redis_server().run([("UNLINK", key) for key in left])
    ids = [*IDS, *(f"item {number}" for number in range(len(ATTRIBUTES) - len(IDS)))]
    items = [Item(id, text="north", attributes=row) for id, row in zip(ids, ATTRIBUTES, strict=True)]
    root: Path = tmp_path_factory.mktemp("both") / "workspace"
    with make_workspace(root, items, parameters=redis_parameters()) as ws:
        version = live_version(ws, COLLECTION)
        assert version is not None
        index = open_index(ws, COLLECTION, version).index
        assert isinstance(index, RedisIndex)
        yield ws, index
    use_redis("")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(filter=FILTERS)
def test_the_same_filter_selects_the_same_segments(
    both: tuple[Workspace, RedisIndex], filter: Filter
) -> None:
    ws, index = both
    catalog = RedisCatalog(redis_server())
    (numeric,) = catalog.versions(COLLECTION).values()
    items = RedisItems(redis_server(), COLLECTION, 1)

    from_redis = RedisSelection(filter, items, index, numeric).keys

    np.testing.assert_array_equal(from_redis, FilterSelection(ws, COLLECTION, filter).keys)
