"""Hybrid search without a database: what a server with the database answers, to the last digit."""

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.twinspire.v1 import items_pb2, search_pb2
from retrieval.content import Modality
from retrieval.index_types import IndexParameters
from retrieval.items import Item, delete_items, upsert_items
from retrieval.lexical_batch import LexicalBatch
from retrieval.publishing import promote
from retrieval.redis_items import RedisItems
from retrieval.redis_journal import drain_journal
from retrieval.redis_layout import REDIS_FILE, vector_keys
from retrieval.redis_lexical import LexicalNotServed, RedisLexical
from retrieval.redis_reach import EVERYWHERE
from retrieval.redis_server import RedisServer
from retrieval.workspace import Workspace
from server.mirror import RedisMirror
from tests.redis.serving import redis_parameters, until
from tests.redis.test_lone_server import delete, matching
from tests.server.running import Running, failure_of, run_server
from tests.server.workspaces import COLLECTION, WORDS, build_version, make_workspace

OTHERS = ["the", "a", "of", "towers", "towering", "tower", "köln", "naïve", "42", "don't", "猫 がいる"]
QUERIES = [
    "north",
    "the old tower",
    "naive red KOLN",
    "猫",
    "don't",
    "nothing-fits zzz",
    "of the",
    "down 42 red",
]
PARTITIONS = [pytest.param(1, id="1 partition"), pytest.param(3, id="3 partitions")]


def random_items(count: int, seed: int) -> list[Item]:
    rng = random.Random(seed)
    return [
        Item(
            f"i{n}", text=" ".join(rng.choices(WORDS + OTHERS, k=rng.randint(1, 30))), attributes={"n": n % 5}
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module", params=PARTITIONS)
def parameters(request: pytest.FixtureRequest) -> IndexParameters:
    return redis_parameters(request.param)


@pytest.fixture
def ws(server: RedisServer, tmp_path: Path, parameters: IndexParameters) -> Iterator[Workspace]:
    with make_workspace(tmp_path / "workspace", random_items(300, 0), parameters=parameters) as ws:
        yield ws


@pytest.fixture
def both(ws: Workspace) -> Iterator[tuple[Running, Running]]:
    """A server with the database, and one without."""
    with RedisMirror(ws.models, interval_s=0.05) as mirror, ExitStack() as stack:
        servers = []
        for workspace in (ws, mirror):
            running = run_server(workspace)
            stack.callback(list, running)
            servers.append(next(running))
        yield servers[0], servers[1]


def hybrid(text: str, **how: Any) -> search_pb2.Query:
    return search_pb2.Query(hybrid=search_pb2.HybridQuery(text=text, **how))


def hits(
    running: Running, query: search_pb2.Query | str, limit: int = 400, **how: Any
) -> list[tuple[float, str]]:
    """Return (score, id); equal scores, but for the order in which they were summed up, by id."""
    query = hybrid(query) if isinstance(query, str) else query
    found = [(round(hit.score, 9), hit.id) for hit in running.find(query=query, limit=limit, **how).hits]
    return sorted(found, key=lambda hit: (-hit[0], hit[1]))


def ids(running: Running, text: str, limit: int = 400) -> list[str]:
    return [id for _, id in hits(running, text, limit)]


def assert_alike(both: tuple[Running, Running], queries: Sequence[str] = QUERIES, **how: Any) -> None:
    for text in queries:
        assert hits(both[1], text, **how) == hits(both[0], text, **how), text


def test_hybrid_search_is_that_of_a_server_with_the_database(both: tuple[Running, Running]) -> None:
    assert hits(both[1], "north", limit=5)

    assert_alike(both)


def test_filters_hold_for_words(both: tuple[Running, Running]) -> None:
    for value in (0, 3):
        assert_alike(both, filter=matching("n", value))


def test_all_fusions_are_alike(both: tuple[Running, Running]) -> None:
    for how in (
        {"rrf": search_pb2.RrfFusion()},
        {"linear": search_pb2.LinearFusion(alpha=0.0)},
        {"linear": search_pb2.LinearFusion(alpha=0.7)},
    ):
        query = hybrid("the old tower", **how)
        assert hits(both[1], query) == hits(both[0], query)


def test_what_comes_and_goes_without_the_database_is_seen_at_once(both: tuple[Running, Running]) -> None:
    lone = both[1]
    lone.upsert(
        items_pb2.Item(id="fresh", text="a unicorn of the north"), items_pb2.Item(id="i3", text="unicorns")
    )
    assert set(ids(lone, "unicorn", limit=2)) == {"fresh", "i3"}

    delete(lone, "fresh")
    assert "fresh" not in ids(lone, "unicorn")
    until(lambda: ids(lone, "unicorn", limit=1) == ["i3"])  # the other server takes it over


def test_writes_of_both_kinds_of_servers_count_in_both(both: tuple[Running, Running], ws: Workspace) -> None:
    with_database, lone = both
    changed = random_items(40, 1)
    lone.upsert(*[items_pb2.Item(id=item.id, text=item.text) for item in changed[:20]])
    with_database.upsert(*[items_pb2.Item(id=item.id, text=item.text) for item in changed[20:]])
    delete(lone, "i50", "i51")
    delete(with_database, "i60", "i61")
    lone.upsert(items_pb2.Item(id="i51", text="back in the old tower"))

    until(partial(_alike, both))


def _alike(both: tuple[Running, Running]) -> bool:
    assert_alike(both)
    return True


def test_a_new_version_has_the_words_of_what_was_written_before(
    both: tuple[Running, Running], ws: Workspace, parameters: IndexParameters
) -> None:
    both[1].upsert(items_pb2.Item(id="fresh", text="a unicorn of the north"))
    delete(both[1], "i7")
    upsert_items(ws, COLLECTION, [Item("other", text="unicorn unicorn")])

    version = build_version(ws, parameters=parameters)
    promote(ws, COLLECTION, version)
    until(lambda: all(each.find("north").index_version == version for each in both))

    assert set(ids(both[1], "unicorn", limit=2)) == {"fresh", "other"}
    until(partial(_alike, both))


def test_a_version_without_words_says_so(
    both: tuple[Running, Running], server: RedisServer, ws: Workspace
) -> None:
    for key in server.call("KEYS", "twinspire:*:words") + server.call("KEYS", "twinspire:*:texts"):
        server.call("UNLINK", key)
    with RedisMirror(ws.models, interval_s=0.05) as mirror, ExitStack() as stack:
        servers = run_server(mirror)
        stack.callback(list, servers)
        lone = next(servers)

        with pytest.raises(grpc.RpcError) as caught:
            hits(lone, "north")

        assert failure_of(caught.value).reason == LexicalNotServed.reason
        assert lone.ids("north")


def words_of(ws: Workspace, server: RedisServer, version: str) -> RedisLexical:
    where = vector_keys((ws.indexes / COLLECTION / version / REDIS_FILE).read_text())
    return RedisLexical(server, where, RedisItems(server, COLLECTION, where.partitions), lambda: EVERYWHERE)


def test_scores_are_those_of_the_database_through_random_changes(
    ws: Workspace, server: RedisServer, parameters: IndexParameters
) -> None:
    version = build_version(ws, parameters=parameters)
    promote(ws, COLLECTION, version)
    words = words_of(ws, server, version)
    with RedisMirror(ws.models, interval_s=60) as mirror:
        from retrieval.item_store import item_store

        lone = item_store(mirror)
        rng = random.Random(5)
        for round in range(6):
            items = [Item(item.id, text=item.text) for item in random_items(300, 10 + round)]
            chosen = [*rng.sample(items, 20), Item(f"new {round}", text=rng.choice(items).text + " unicorn")]
            lone.upsert(COLLECTION, [*chosen, Item("picture", Modality.IMAGE, uri="media://a/b.png")], None)
            lone.delete(COLLECTION, [item.id for item in rng.sample(items, 5)], None)
            words.follow(round)
            drain_journal(ws, COLLECTION)

            expected = LexicalBatch(ws, COLLECTION).search([*QUERIES, "unicorn"], 1000)
            found = words.find([*QUERIES, "unicorn"], 1000, None)
            for theirs, ours in zip(expected, found, strict=True):
                assert [(id, score) for _, id, score in ours] == [(id, score) for _, id, score in theirs]


def test_deleted_in_the_database_is_gone_from_the_words(ws: Workspace, both: tuple[Running, Running]) -> None:
    before = len(hits(both[1], "north", limit=1000))
    delete_items(ws, COLLECTION, ["i1", "i2", "i3"])

    until(lambda: len(hits(both[1], "north", limit=1000)) == before - 3)
    assert_alike(both)
