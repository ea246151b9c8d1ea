import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

import psutil
import pytest
from grpc import StatusCode

from protos.twinspire.v1 import collections_pb2, content_pb2, encoders_pb2, items_pb2, search_pb2, server_pb2
from retrieval.collections import create_collection
from retrieval.item_writes import upsert_items
from retrieval.items import Item
from retrieval.publishing import list_versions, promote, quarantine
from retrieval.removal import remove_collection
from retrieval.workspace import Workspace
from tests.server.running import TIMEOUT_S, Failure, Running
from tests.server.test_pipeline import until
from tests.server.workspaces import COLLECTION, WORDS, build_version, direction, make_workspace, write_encoder

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]


def describe(running: Running, name: str = COLLECTION) -> collections_pb2.Collection:
    request = collections_pb2.GetCollectionRequest(collection=name)
    return running.collections.GetCollection(request, timeout=TIMEOUT_S).collection


def set_live(running: Running, version: str, expected: str) -> collections_pb2.SetLiveVersionResponse:
    request = collections_pb2.SetLiveVersionRequest(
        collection=COLLECTION, version=version, expected_version=expected
    )
    return running.collections.SetLiveVersion(request, timeout=TIMEOUT_S)


def second_version(ws: Workspace) -> str:
    """Publish a version under another encoder: all axes are turned."""
    write_encoder(ws, version=2)
    return build_version(ws, "compass@2")


def test_a_collection_is_described(shared: Running) -> None:
    collection = describe(shared)

    assert (collection.item_count, collection.unindexed_count) == (2 * len(WORDS) - 1, 0)
    assert collection.ready
    assert (collection.encoder.name, collection.encoder.version) == ("compass", 1)
    assert collection.live_version.startswith("000001-")


def test_collections_are_listed(shared: Running) -> None:
    answer = shared.collections.ListCollections(collections_pb2.ListCollectionsRequest(), timeout=TIMEOUT_S)

    assert [collection.name for collection in answer.collections] == [COLLECTION]


def test_an_upsert_counts_as_unindexed(running: Running) -> None:
    running.upsert(items_pb2.Item(id="fresh", text="far"))

    assert describe(running).unindexed_count == 1


def test_an_unknown_collection_is_not_found(shared: Running, fails: Fails) -> None:
    assert fails(lambda: describe(shared, "nowhere")).code == StatusCode.NOT_FOUND


def test_versions_are_listed_newest_first(running: Running) -> None:
    second = second_version(running.ws)

    answer = running.collections.ListIndexVersions(
        collections_pb2.ListIndexVersionsRequest(collection=COLLECTION), timeout=TIMEOUT_S
    )

    assert next(version.version for version in answer.versions) == second
    assert [version.live for version in answer.versions] == [False, True]
    assert answer.versions[0].parameters["kind"] == "flat"


def test_setting_the_live_version_switches_encoder_and_index(running: Running) -> None:
    first = describe(running).live_version
    second = second_version(running.ws)

    answer = set_live(running, second, first)

    assert (answer.previous_version, answer.live_version) == (first, second)
    found = running.find("north", limit=1)
    assert (found.index_version, found.model_version, found.hits[0].id) == (second, "compass@2", "north")


def test_of_two_switches_the_second_is_aborted(running: Running, fails: Fails) -> None:
    first = describe(running).live_version
    second = second_version(running.ws)
    set_live(running, second, first)

    failure = fails(lambda: set_live(running, first, first))

    assert (failure.code, failure.reason) == (StatusCode.ABORTED, "VERSION_MOVED")
    assert running.find("north").index_version == second


def test_a_quarantined_version_is_refused_and_the_old_one_stays(running: Running, fails: Fails) -> None:
    first = describe(running).live_version
    second = second_version(running.ws)
    quarantine(running.ws, COLLECTION, second)

    failure = fails(lambda: set_live(running, second, first))

    assert failure.code == StatusCode.FAILED_PRECONDITION
    assert running.find("north").index_version == first


def test_an_unknown_version_is_not_found(running: Running, fails: Fails) -> None:
    first = describe(running).live_version

    assert fails(lambda: set_live(running, "000009-none", first)).reason == "VERSION_NOT_FOUND"


def test_a_version_promoted_by_another_process_is_noticed(running: Running) -> None:
    second = second_version(running.ws)
    with Workspace(running.ws.root) as other:
        promote(other, COLLECTION, second)

    until(lambda: running.find("north").index_version == second)


def test_a_collection_that_another_process_deleted_is_let_go(running: Running, fails: Fails) -> None:
    remove_collection(running.ws, COLLECTION)
    until(lambda: COLLECTION not in running.server.live.served)

    failure = fails(lambda: running.ids("north"))
    assert (failure.code, failure.reason) == (StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")

    create_collection(running.ws, COLLECTION)
    upsert_items(running.ws, COLLECTION, [Item("new", text="north")])
    promote(running.ws, COLLECTION, build_version(running.ws))
    until(lambda: COLLECTION in running.server.live.served)
    assert running.ids("north") == ["new"]
    assert running.upsert(items_pb2.Item(id="fresh", text="far")).inserted == 1
    assert running.ids("far", limit=1) == ["fresh"]


def test_items_written_under_the_old_version_are_found_under_the_new_one(running: Running) -> None:
    first = describe(running).live_version
    second = second_version(running.ws)
    running.upsert(items_pb2.Item(id="between", text="far"))

    set_live(running, second, first)

    assert running.ids("far", limit=2) == ["between", "far"]


def test_no_search_fails_while_versions_are_swapped(running: Running) -> None:
    versions = [describe(running).live_version, second_version(running.ws)]
    stop = Event()

    def ask() -> int:
        asked = 0
        while not stop.is_set():
            assert running.ids("north", limit=1) == ["north"]
            asked += 1
        return asked

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for at in range(10):
            set_live(running, versions[(at + 1) % 2], versions[at % 2])
        stop.set()
        assert sum(future.result() for future in asking) > 0


def test_an_old_version_answers_when_named(running: Running) -> None:
    first = describe(running).live_version
    set_live(running, second_version(running.ws), first)

    assert running.find("north", limit=1, index_version=first).model_version == "compass@1"


def test_another_encoder_than_expected_is_a_failed_precondition(running: Running, fails: Fails) -> None:
    fingerprint = running.find("north").encoder_fingerprint
    set_live(running, second_version(running.ws), describe(running).live_version)
    vector = content_pb2.DenseVector(f32le=direction("north").tobytes())

    failure = fails(
        lambda: running.find(query=search_pb2.Query(vector=vector), expected_encoder_fingerprint=fingerprint)
    )

    assert (failure.code, failure.reason) == (StatusCode.FAILED_PRECONDITION, "ENCODER_INDEX_MISMATCH")


def test_encoding_gives_the_live_encoders_vectors(shared: Running) -> None:
    request = encoders_pb2.EncodeRequest(
        collection=COLLECTION, inputs=[encoders_pb2.EncodeInput(text=word) for word in ("north", "east")]
    )

    answer = shared.encoders.Encode(request, timeout=TIMEOUT_S)

    assert [vector.f32le for vector in answer.vectors] == [
        direction(word).tobytes() for word in ("north", "east")
    ]
    assert answer.encoder_fingerprint == describe(shared).encoder.fingerprint


def test_encoding_by_name_needs_no_collection(shared: Running) -> None:
    request = encoders_pb2.EncodeRequest(
        encoder="compass@1", side=encoders_pb2.SIDE_ITEM, inputs=[encoders_pb2.EncodeInput(text="north")]
    )

    assert shared.encoders.Encode(request, timeout=TIMEOUT_S).vectors[0].f32le == direction("north").tobytes()


def test_an_unknown_model_is_not_found(shared: Running, fails: Fails) -> None:
    request = encoders_pb2.EncodeRequest(encoder="nothing", inputs=[encoders_pb2.EncodeInput(text="north")])

    assert fails(lambda: shared.encoders.Encode(request, timeout=TIMEOUT_S)).code == StatusCode.NOT_FOUND


def test_bad_encodings_are_invalid_arguments(shared: Running, fails: Fails) -> None:
    text = encoders_pb2.EncodeInput(text="north")
    for request in (
        encoders_pb2.EncodeRequest(collection=COLLECTION),
        encoders_pb2.EncodeRequest(collection=COLLECTION, inputs=[text] * 257),
        encoders_pb2.EncodeRequest(inputs=[text]),
        encoders_pb2.EncodeRequest(collection=COLLECTION, encoder="compass", inputs=[text]),
        encoders_pb2.EncodeRequest(collection=COLLECTION, inputs=[encoders_pb2.EncodeInput()]),
        encoders_pb2.EncodeRequest(collection=COLLECTION, inputs=[encoders_pb2.EncodeInput(text=" ")]),
    ):
        failure = fails(partial(shared.encoders.Encode, request, timeout=TIMEOUT_S))
        assert failure.code == StatusCode.INVALID_ARGUMENT


def test_encoders_are_listed_with_the_live_one_marked(running: Running) -> None:
    write_encoder(running.ws, version=2)

    answer = running.encoders.ListEncoders(encoders_pb2.ListEncodersRequest(), timeout=TIMEOUT_S)

    assert {(card.version, card.live) for card in answer.encoders} == {(1, True), (2, False)}


def test_the_server_tells_its_limits_backends_and_encoders(shared: Running) -> None:
    info = shared.info.GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=TIMEOUT_S)

    assert info.version
    assert info.limits.max_limit == 1000
    assert [backend.name for backend in info.backends] == ["exact"]
    assert info.backends[0].version
    assert [card.name for card in info.encoders] == ["compass"]


def test_new_attributes_are_shown_by_the_next_search(running: Running) -> None:
    running.find("north")
    changed = items_pb2.Item(id="north", text="north")
    changed.attributes.update({"colour": "grey"})

    running.upsert(changed)

    assert dict(running.find("north", limit=1).hits[0].attributes) == {"colour": "grey"}


def test_items_that_nobody_encoded_are_caught_up_at_the_start(
    tmp_path: Path, start_server: Callable[..., Running]
) -> None:
    with make_workspace(tmp_path / "behind") as ws:
        upsert_items(ws, COLLECTION, [Item("late", text="far")])

        running = start_server(ws)

        until(lambda: "late" in running.ids("far", limit=2))


def test_broken_weights_give_way_to_the_version_before(
    tmp_path: Path, start_server: Callable[..., Running]
) -> None:
    with make_workspace(tmp_path / "broken") as ws:
        second = second_version(ws)
        promote(ws, COLLECTION, second)
        weights = ws.models / "compass" / "2" / "tower.safetensors"
        body = bytearray(weights.read_bytes())
        body[-3] ^= 1
        weights.write_bytes(body)

        running = start_server(ws)

        assert running.find("north", limit=1).model_version == "compass@1"
        states = {version.version: version.state for version in list_versions(ws, COLLECTION)}
        assert states[second] == "quarantined"


def test_a_large_batch_is_spread_and_put_together_in_order(running: Running) -> None:
    words = [WORDS[at % len(WORDS)] for at in range(200)]
    requests = [
        search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text=word), limit=1)
        for word in words
    ]

    answer = running.search.BatchSearch(search_pb2.BatchSearchRequest(requests=requests), timeout=TIMEOUT_S)

    assert [result.response.hits[0].id for result in answer.results] == words


@pytest.mark.slow
def test_fifty_swaps_leave_memory_and_threads_as_they_were(running: Running) -> None:
    versions = [describe(running).live_version, second_version(running.ws)]

    def swap(times: int) -> tuple[int, int]:
        for at in range(times):
            set_live(running, versions[(at + 1) % 2], versions[at % 2])
            running.find("north")
        until(lambda: threading.active_count() <= threads)
        gc.collect()
        return psutil.Process().memory_info().rss, psutil.Process().num_fds()

    threads = threading.active_count() + 4
    before, files_before = swap(10)
    after, files_after = swap(50)

    assert after - before < 8 << 20
    assert files_after <= files_before + 4
