"""A collection over three nodes is searched as if it lay on one."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from retrieval.local_redis import LocalRedis
from retrieval.redis_layout import partition_tags, slot_of
from retrieval.redis_server import RedisServer, redis_server, use_redis
from tests.redis.cluster.indexes import COUNT, DIMS, make_index
from tests.redis.local_cluster import LocalCluster
from tests.vectors import Chosen, unit_rows

pytestmark = pytest.mark.slow
QUERIES = unit_rows(40, DIMS, seed=1)
SELECTIONS = [None, Chosen(np.arange(5, COUNT, 2)), Chosen(np.arange(7, COUNT, 300)), Chosen(np.arange(0))]


@pytest.mark.parametrize("storage", ["f32", "sq8", "bin"])
def test_results_equal_those_of_a_single_node(cluster: LocalCluster, tmp_path: Path, storage: str) -> None:
    found = {}
    with LocalRedis() as alone:
        for url, partitions in ((alone.url, 1), (cluster.url, 6)):
            use_redis(url)
            index = make_index(tmp_path / f"equal-{storage}-{partitions}" / "v", partitions, storage=storage)
            found[partitions] = [
                index.search(QUERIES, 10, selection=selection, exact=exact)
                for selection in SELECTIONS
                # Bits alone choose other candidates among more of them.
                for exact in ((True,) if storage == "bin" else (True, False))
            ]
    use_redis("")

    for one, many in zip(found[1], found[6], strict=True):
        np.testing.assert_allclose(one.scores, many.scores, atol=1e-6)
        assert (one.keys == many.keys).mean() > 0.999  # a tie may fall otherwise


def test_every_node_holds_its_share(redis_cluster: LocalCluster, tmp_path: Path) -> None:
    make_index(tmp_path / "shares" / "v", partitions=12)
    holders = Counter(
        redis_cluster.primary_of(slot_of(tag)).process.port for tag in partition_tags("shares", 12)
    )

    assert sorted(holders.values()) == [4, 4, 4]
    held = [
        sum(node.call("VCARD", key) for key in node.call("KEYS", "twinspire:shares:*:vectors"))
        for node in redis_cluster.primaries
    ]
    assert sum(held) == COUNT
    assert max(held) - min(held) <= 12


def test_one_address_is_enough_to_find_the_cluster(redis_cluster: LocalCluster, tmp_path: Path) -> None:
    use_redis(redis_cluster.primaries[1].process.url)
    assert make_index(tmp_path / "one" / "v").search(QUERIES, 1).keys.shape == (len(QUERIES), 1)
    assert redis_server().is_cluster


def test_an_address_that_is_down_among_others_is_no_matter(cluster: LocalCluster) -> None:
    server = RedisServer(cluster.url.replace("//", "//127.0.0.1:1,"))
    server.check()

    assert server.call("VCARD", "twinspire:none") == 0
    server.close()


def test_a_moved_slot_is_found_where_it_is(redis_cluster: LocalCluster) -> None:
    server = redis_server()
    server.run([("HSET", "twinspire:{foo}:state", "count", 1)])
    stale = RedisServer(redis_cluster.url)
    stale.check()
    assert stale.call("HGET", "twinspire:{foo}:state", "count") == b"1"

    source = redis_cluster.primary_of(slot_of("foo"))
    target = next(node for node in redis_cluster.primaries if node is not source)
    redis_cluster.move_slot(slot_of("foo"), target)

    assert stale.call("HGET", "twinspire:{foo}:state", "count") == b"1"
    redis_cluster.move_slot(slot_of("foo"), source)
    stale.close()


def test_replies_come_in_the_order_of_the_commands(redis_cluster: LocalCluster) -> None:
    server = redis_server()
    names = [f"twinspire:{{order-{number}}}" for number in range(500)]

    server.run([("HSET", name, "at", at) for at, name in enumerate(names)], lanes=4)
    replies = server.run([("HGET", name, "at") for name in names], lanes=4)

    assert replies == [str(at).encode() for at in range(500)]
    server.run([("UNLINK", name) for name in names])


def test_information_comes_from_every_primary(redis_cluster: LocalCluster) -> None:
    ports = {node["tcp_port"] for node in redis_server().informations("server")}

    assert ports == {str(node.process.port) for node in redis_cluster.primaries}
