from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from PIL import Image

from indexer.indexing import index_collection
from protos.twinspire.v1 import content_pb2, search_pb2
from retrieval.content import Modality
from retrieval.errors import MediaUnreadable, UriNotAllowed
from retrieval.workspace import Workspace
from server.local import LocalSearch
from tests.media.conftest import add, write_tones
from tests.media.simple_encoders import add_encoder
from tests.server.running import Running, failure_of, run_server
from twinspire import Client, Item
from twinspire.queries import Example


@pytest.fixture
def running(ws: Workspace, pictures: Path) -> Iterator[Running]:
    """A server whose collection `c` holds pictures of one colour each."""
    add_encoder(ws, "colour")
    index_collection(ws, "c", "colour")
    yield from run_server(ws)


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(f"127.0.0.1:{running.server.port}") as client:
        yield client


@pytest.fixture
def songs(ws: Workspace, folder: Path) -> Workspace:
    """A song whose middle is high, in windows of 5 seconds, and one that is low throughout."""
    write_tones(folder / "song.wav", 200, 3000, 200, 3000, seconds=5)
    write_tones(folder / "low.wav", 300, seconds=10)
    write_tones(folder / "high.wav", 3000, seconds=2)
    add(ws, Modality.AUDIO, "song.wav", duration_s=20.0)
    add(ws, Modality.AUDIO, "low.wav", duration_s=10.0)
    add_encoder(ws, "pitch")
    index_collection(ws, "c", "pitch", windows_s=5)
    return ws


def test_a_text_finds_pictures(client: Client) -> None:
    assert client.search("c", "green", limit=1).hits[0].id == "green.png"


def test_a_picture_finds_pictures_like_it(client: Client, pictures: Path) -> None:
    by_file = client.search("c", image=pictures / "blue.png", limit=1)
    by_bytes = client.search("c", image=(pictures / "blue.png").read_bytes(), limit=1)
    by_uri = client.search("c", image="media://media/blue.png", limit=1)

    assert [answer.hits[0].id for answer in (by_file, by_bytes, by_uri)] == ["blue.png"] * 3


def test_examples_may_be_pictures(client: Client, pictures: Path) -> None:
    answer = client.search(
        "c", positives=[Example(media=pictures / "red.png"), Example(text="green")], limit=3
    )

    assert {hit.id for hit in answer.hits} == {"red.png", "green.png", "white.png"}


def test_what_is_no_picture_is_refused(client: Client) -> None:
    with pytest.raises(MediaUnreadable):
        client.search("c", image=b"<svg/>")


def test_a_uri_outside_the_roots_is_refused_without_telling_a_path(client: Client, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")

    with pytest.raises(UriNotAllowed) as refused:
        client.search("c", image="media://media/../secret.png")

    assert str(tmp_path) not in str(refused.value)


def test_one_bad_picture_fails_alone(running: Running, pictures: Path) -> None:
    good = search_pb2.Query(image=content_pb2.Media(content=(pictures / "red.png").read_bytes()))
    bad = search_pb2.Query(image=content_pb2.Media(content=b"GIF89a"))
    requests = [search_pb2.SearchRequest(collection="c", query=query) for query in (good, bad, good)]

    results = running.search.BatchSearch(search_pb2.BatchSearchRequest(requests=requests)).results

    assert [result.WhichOneof("outcome") for result in results] == ["response", "error", "response"]


def test_a_sound_is_not_taken_by_an_encoder_of_pictures(running: Running, folder: Path) -> None:
    write_tones(folder / "tone.wav", 440)
    query = search_pb2.Query(audio=content_pb2.Media(content=(folder / "tone.wav").read_bytes()))

    with pytest.raises(grpc.RpcError) as refused:
        running.find(collection="c", query=query)

    assert failure_of(refused.value).reason == "MODALITY_NOT_SERVED"


def test_an_upserted_picture_is_found(client: Client, pictures: Path) -> None:
    Image.new("RGB", (8, 8), (0, 250, 5)).save(pictures / "lime.png")
    client.delete_items("c", ids=["green.png"])
    client.upsert_many("c", [Item(id="lime", modality="image", uri="media://media/lime.png")])

    assert client.search("c", "green", limit=1).hits[0].id == "lime"


def test_a_hit_names_its_seconds(songs: Workspace, folder: Path) -> None:
    request = search_pb2.SearchRequest(
        collection="c",
        query=search_pb2.Query(audio=content_pb2.Media(content=(folder / "high.wav").read_bytes())),
    )
    with LocalSearch(songs) as search:
        first, second = search.search(request).hits

    assert (first.id, second.id) == ("song.wav", "low.wav")
    assert (first.span.start, first.span.end) in ((5.0, 10.0), (15.0, 20.0))


def test_moments_of_one_item_lie_apart(songs: Workspace, folder: Path) -> None:
    request = search_pb2.SearchRequest(
        collection="c",
        query=search_pb2.Query(audio=content_pb2.Media(content=(folder / "high.wav").read_bytes())),
        moments=2,
        limit=2,
    )
    with LocalSearch(songs) as search:
        hits = search.search(request).hits

    assert [hit.id for hit in hits] == ["song.wav", "song.wav"]
    assert {(hit.span.start, hit.span.end) for hit in hits} == {(5.0, 10.0), (15.0, 20.0)}
