from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from encoders import loading
from encoders.aspects import NotProbed
from indexer.exporting import export_bundle
from indexer.indexing import index_collection
from indexer.restoring import import_bundle
from protos.twinspire.v1 import content_pb2, search_pb2
from retrieval.content import Modality
from retrieval.errors import CorruptArtifact, MediaUnreadable
from retrieval.items import Item, delete_items, upsert_items
from retrieval.registry import find_model
from retrieval.workspace import Workspace
from server.aspects import NoLayers
from server.local import LocalSearch
from tests.probing.conftest import COLLECTION, HERTZ, beats, name_of, probe_sounds, wav
from tests.server.running import Failure, Running, failure_of, run_server
from tests.server.workspaces import COLLECTION as TEXTS
from tests.server.workspaces import make_workspace
from twinspire import Client, Diversity, SearchQuery
from twinspire.results import SearchResult

BRIGHT = {"brightness": 1.0}
Failing = Callable[[Callable[[], object]], Failure]


@pytest.fixture(scope="module")
def running(shared: Workspace) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "LOADERS", {**loading.LOADERS, "bands": "tests.probing.band_encoder"})
        yield from run_server(shared)


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[Client]:
    with Client(f"127.0.0.1:{running.server.port}") as client:
        yield client


@pytest.fixture
def fails() -> Failing:
    def call(work: Callable[[], object]) -> Failure:
        with pytest.raises(grpc.RpcError) as caught:
            work()
        return failure_of(caught.value)

    return call


def hertz_of(answer: SearchResult) -> list[int]:
    return [int(hit.id.removesuffix(".wav")) for hit in answer.hits]


def test_an_item_finds_those_that_are_as_bright(client: Client) -> None:
    answer = client.search(COLLECTION, item_id=name_of(HERTZ[12]), aspects=BRIGHT, limit=4)

    assert set(hertz_of(answer)) <= set(HERTZ[7:18]) - {HERTZ[12]}
    assert answer.score_kind == "aspects"


def test_a_sound_finds_those_that_are_as_bright(client: Client) -> None:
    sound = wav(beats(HERTZ[20], per_second=2.2))

    answer = client.search(COLLECTION, audio=sound, aspects=BRIGHT, limit=3)

    assert set(hertz_of(answer)) <= set(HERTZ[17:24])


def test_a_sound_is_nearest_to_itself(client: Client) -> None:
    answer = client.search(COLLECTION, audio=f"media://media/{name_of(HERTZ[5])}", aspects=BRIGHT, limit=1)

    assert hertz_of(answer) == [HERTZ[5]]
    assert answer.hits[0].score == pytest.approx(0, abs=1e-4)


def test_scores_fall_from_0(client: Client) -> None:
    scores = [
        hit.score
        for hit in client.search(COLLECTION, item_id=name_of(HERTZ[0]), aspects=BRIGHT, limit=30).hits
    ]

    assert len(scores) == len(HERTZ) - 1
    assert scores == sorted(scores, reverse=True)
    assert scores[0] <= 0


def test_a_threshold_is_in_standard_deviations(client: Client) -> None:
    answer = client.search(
        COLLECTION, item_id=name_of(HERTZ[12]), aspects=BRIGHT, limit=30, score_threshold=-0.5
    )

    assert 0 < len(answer.hits) < len(HERTZ) - 1
    assert min(hit.score for hit in answer.hits) >= -0.5


def test_a_filter_holds(client: Client) -> None:
    answer = client.search(
        COLLECTION, item_id=name_of(HERTZ[0]), aspects=BRIGHT, limit=30, filter="bright = true"
    )

    assert sorted(hertz_of(answer)) == HERTZ[12:]


def test_hits_may_be_spread(client: Client) -> None:
    answer = client.search(
        COLLECTION, item_id=name_of(HERTZ[0]), aspects=BRIGHT, limit=5, diversity=Diversity(weight=0.5)
    )

    assert len(answer.hits) == 5


def test_the_plan_is_told(client: Client) -> None:
    answer = client.search(COLLECTION, item_id=name_of(HERTZ[0]), aspects=BRIGHT, limit=1, explain=True)

    explanation = answer.hits[0].explanation
    assert explanation is not None
    assert (explanation.plan, explanation.source) == ("aspects", "index")


def by_item(running: Running, **aspects: float) -> Callable[[], object]:
    query = search_pb2.Query(item_id=name_of(HERTZ[0]))
    return lambda: running.find(collection=COLLECTION, query=query, aspects=aspects)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_weight_that_cannot_be_is_refused(running: Running, fails: Failing, weight: float) -> None:
    failure = fails(by_item(running, brightness=weight))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "aspects['brightness']" in failure.message


def test_an_aspect_that_does_not_exist_is_refused(running: Running, fails: Failing) -> None:
    failure = fails(by_item(running, loudness=1.0))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected some of articulation, brightness" in failure.message


def test_an_aspect_that_no_layer_knows_is_refused(running: Running, fails: Failing) -> None:
    assert fails(by_item(running, phrasing=1.0)).reason == "ASPECT_UNKNOWN"


def test_too_many_aspects_are_refused(running: Running, fails: Failing) -> None:
    failure = fails(by_item(running, **{f"aspect{number}": 1.0 for number in range(65)}))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT


def test_only_sounds_and_items_are_asked_by_aspect(running: Running, fails: Failing) -> None:
    failure = fails(lambda: running.find("a bright sound", collection=COLLECTION, aspects=BRIGHT))

    assert (failure.code, failure.message) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "aspects: expected to be asked by media or an item id",
    )


def test_an_item_that_does_not_exist_is_not_found(running: Running, fails: Failing) -> None:
    query = search_pb2.Query(item_id="nobody")

    failure = fails(lambda: running.find(collection=COLLECTION, query=query, aspects=BRIGHT))

    assert failure.reason == "ITEM_NOT_FOUND"


def test_what_is_no_sound_is_refused(running: Running, fails: Failing) -> None:
    query = search_pb2.Query(audio=content_pb2.Media(content=b"no sound"))

    failure = fails(lambda: running.find(collection=COLLECTION, query=query, aspects=BRIGHT))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_bad_search_in_a_batch_fails_alone(client: Client) -> None:
    good, bad = client.batch_search(
        COLLECTION,
        [
            SearchQuery(audio=wav(beats(HERTZ[3], per_second=3)), aspects=BRIGHT, limit=1),
            SearchQuery(audio=b"no sound", aspects=BRIGHT),
        ],
    )

    assert isinstance(good, SearchResult)
    assert isinstance(bad, MediaUnreadable)


def test_an_encoder_of_texts_has_no_layers(tmp_path: Path) -> None:
    with make_workspace(tmp_path / "texts") as ws, LocalSearch(ws) as search, pytest.raises(NoLayers):
        search.search(
            search_pb2.SearchRequest(
                collection=TEXTS, query=search_pb2.Query(item_id="north"), aspects=BRIGHT
            )
        )


def nearest(ws: Workspace, place: int = 12) -> list[str]:
    """Search a workspace of a test's own."""
    query = search_pb2.Query(item_id=name_of(HERTZ[place]))
    request = search_pb2.SearchRequest(collection=COLLECTION, query=query, aspects=BRIGHT, limit=3)
    with LocalSearch(ws) as search:
        return [hit.id for hit in search.search(request).hits]


def test_a_collection_that_was_not_probed_says_how_to(own: Workspace) -> None:
    with own.atomic() as db:
        db.execute("DELETE FROM models WHERE kind = 'aspects'")

    with pytest.raises(NotProbed, match="run `twinspire probe`"):
        nearest(own)


def test_a_newer_probing_is_used_without_opening_again(own: Workspace) -> None:
    with own.atomic() as db:
        db.execute("DELETE FROM models WHERE kind = 'aspects'")
    query = search_pb2.Query(item_id=name_of(HERTZ[0]))
    request = search_pb2.SearchRequest(collection=COLLECTION, query=query, aspects=BRIGHT)
    with LocalSearch(own) as search:
        with pytest.raises(NotProbed):
            search.search(request)

        probe_sounds(own)

        assert len(search.search(request).hits) == 10


def test_a_deleted_item_is_not_found(own: Workspace) -> None:
    first = nearest(own)[0]

    delete_items(own, COLLECTION, [first])

    assert first not in nearest(own)


def test_an_item_that_came_after_the_probing_is_found(own: Workspace, made: Path) -> None:
    (made / "media" / "new.wav").write_bytes(wav(beats(HERTZ[12], per_second=2.5)))
    upsert_items(own, COLLECTION, [Item("new.wav", Modality.AUDIO, uri="media://media/new.wav")])

    index_collection(own, COLLECTION, "bands")

    assert "new.wav" in nearest(own)


def test_a_damaged_reader_is_refused(own: Workspace) -> None:
    file = find_model(own, f"{COLLECTION}-aspects").folder / "readouts.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))

    with pytest.raises(CorruptArtifact):
        nearest(own)


def test_a_bundle_of_the_collection_holds_what_reads_its_aspects(own: Workspace, tmp_path: Path) -> None:
    report = export_bundle(own, tmp_path / "bundle", collection=COLLECTION)

    assert f"{COLLECTION}-aspects@1" in report.models
    import_bundle(tmp_path / "bundle", tmp_path / "restored")
    with Workspace(tmp_path / "restored") as restored:
        assert nearest(restored) == nearest(own)
