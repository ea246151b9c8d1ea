"""A cluster that loses nodes or moves slots, behind a real server: what a client is told."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.twinspire.v1 import filters_pb2, search_pb2
from retrieval.redis_layout import partition_tags, slot_of
from tests.redis.local_cluster import LocalCluster
from tests.redis.serving import WORD, Searching, searching, until
from tests.server.workspaces import COLLECTION, WORDS

pytestmark = pytest.mark.slow
PARTITIONS = 6
SLOTS_USED = [slot_of(tag) for tag in partition_tags(COLLECTION, PARTITIONS)]


@pytest.fixture
def breakable() -> Iterator[LocalCluster]:
    """A cluster that the test may break."""
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def server(breakable: LocalCluster, tmp_path: Path) -> Iterator[Searching]:
    with searching(tmp_path, breakable.url, partitions=PARTITIONS) as running:
        yield running


@contextmanager
def asking(server: Searching, **params: Any) -> Iterator[Counter[str]]:
    """Search by two clients all the while, for one word after the other, and count what comes of it."""
    outcomes: Counter[str] = Counter()
    over = threading.Event()

    def ask(words: list[str]) -> None:
        while not over.is_set():
            for word in words:
                request = search_pb2.SearchRequest(
                    collection=COLLECTION,
                    query=search_pb2.Query(text=word),
                    params=search_pb2.SearchParams(**params),
                )
                try:
                    best = server.running.search.Search(request, timeout=10.0).hits[0].id
                    outcomes["right" if best == word else f"{best} for {word}"] += 1
                except grpc.RpcError as error:
                    outcomes[f"{error.code().name}: {error.details()}"] += 1

    threads = [threading.Thread(target=ask, args=(WORDS[half::2],)) for half in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_killed_primary_is_unavailable_for_at_most_five_seconds(
    breakable: LocalCluster, server: Searching
) -> None:
    assert server.best() == WORD
    breakable.primary_of(SLOTS_USED[0]).kill()

    began = time.monotonic()
    codes = set()
    while time.monotonic() - began < 10:
        try:
            assert server.best() == WORD
            break
        except grpc.RpcError as error:
            codes.add(error.code())
    assert time.monotonic() - began < 5
    assert codes <= {grpc.StatusCode.UNAVAILABLE}
    assert all(server.best() == WORD for _ in range(20))


def test_after_a_replica_stepped_in_an_index_is_built_and_served(
    breakable: LocalCluster, server: Searching
) -> None:
    breakable.primary_of(SLOTS_USED[0]).kill()
    until(lambda: server.best() == WORD)

    version = server.build(PARTITIONS)
    server.promote(version)

    assert until(lambda: server.search().index_version == version) < 5
    assert server.best() == WORD


def lose_a_shard(cluster: LocalCluster, slot: int) -> None:
    """Kill the primary of a slot, and its replica."""
    primary = cluster.primary_of(slot)
    cluster.replicas[cluster.primaries.index(primary)].kill()
    primary.kill()


def code_of(work: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        work()
    return str(caught.value.code().name)


def test_a_lost_shard_is_unavailable_and_stays_so(breakable: LocalCluster, server: Searching) -> None:
    lose_a_shard(breakable, SLOTS_USED[0])

    assert code_of(server.best) == "UNAVAILABLE"
    time.sleep(2.0)
    began = time.monotonic()
    assert code_of(server.best) == "UNAVAILABLE"
    assert time.monotonic() - began < 0.5  # what lasts is not waited for again


def test_a_lost_shard_is_left_out_where_that_is_allowed(breakable: LocalCluster, server: Searching) -> None:
    whole = {hit.id for hit in server.search(allow_partial=True).hits}
    assert not server.search(allow_partial=True).partial
    lose_a_shard(breakable, SLOTS_USED[0])

    began = time.monotonic()
    answer = server.search(allow_partial=True)

    assert answer.partial
    assert answer.hits
    assert time.monotonic() - began < 1.0
    assert len(answer.hits) == 10
    assert {hit.score for hit in answer.hits} <= {hit.score for hit in server.search(allow_partial=True).hits}
    assert whole


def test_a_filtered_search_leaves_out_a_lost_shard_too(breakable: LocalCluster, server: Searching) -> None:
    pairs = filters_pb2.Condition(match=filters_pb2.Match(attribute="pair"))
    pairs.match.any_of.add().bool_value = True
    singles = filters_pb2.Filter(must_not=[pairs])
    lose_a_shard(breakable, SLOTS_USED[0])

    answer = server.running.find(
        WORD, filter=singles, limit=50, params=search_pb2.SearchParams(allow_partial=True)
    )

    assert answer.partial
    assert 0 < len(answer.hits) < len(WORDS)
    assert {hit.id for hit in answer.hits} < set(WORDS)


def test_with_every_node_lost_a_partial_answer_is_none(breakable: LocalCluster, server: Searching) -> None:
    for node in breakable.nodes:
        node.kill()

    assert code_of(lambda: server.search(allow_partial=True)) == "UNAVAILABLE"


def test_slots_move_under_queries_without_an_error_or_a_wrong_hit(
    breakable: LocalCluster, server: Searching
) -> None:
    with asking(server) as outcomes:
        until(lambda: outcomes["right"] > 20)
        moved = 0
        for slot in SLOTS_USED:
            source = breakable.primary_of(slot)
            target = breakable.primaries[(breakable.primaries.index(source) + 1) % 3]
            moved += breakable.move_slot(slot, target, pause_s=0.05)
        seen = outcomes["right"]
        until(lambda: outcomes["right"] > seen + 20)

    assert moved >= 2 * PARTITIONS  # vectors and state of each
    assert set(outcomes) == {"right"}


def test_a_primary_killed_under_queries_gives_no_wrong_hit(
    breakable: LocalCluster, server: Searching
) -> None:
    with asking(server) as outcomes:
        until(lambda: outcomes["right"] > 20)
        breakable.primary_of(SLOTS_USED[0]).kill()
        until(lambda: server.best() == WORD)
        seen = outcomes["right"]
        until(lambda: outcomes["right"] > seen + 20)

    assert {outcome.split(":")[0] for outcome in outcomes} <= {"right", "UNAVAILABLE"}
