"""Videos over a socket: an X-CLIP of random weights, searched by videos, texts and examples."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import torch

from encoders.pretrained.adding import add_encoder
from indexer.folder_import import import_folder
from indexer.indexing import index_collection
from protos.twinspire.v1 import content_pb2, items_pb2, search_pb2
from retrieval.workspace import Workspace
from tests.encoders.hub_folders import FAMILIES
from tests.media.files import noisy_video, picture, sound, video
from tests.server.running import Running, failure_of, run_server

COLLECTION = "videos"
NAMES = {"one": 1.0, "two": 1.0, "long": 6.0}  # and how many seconds


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of three videos; the long one is searched by windows of 2 s too."""
    root = tmp_path_factory.mktemp("videos")
    torch.manual_seed(0)
    (root / "model").mkdir()
    FAMILIES["xclip"](root / "model")
    (root / "files").mkdir()
    for seed, (name, seconds) in enumerate(NAMES.items()):
        (root / "files" / f"{name}.mp4").write_bytes(noisy_video(seed, seconds))
    with Workspace(root / "workspace", create=True) as ws:
        import_folder(ws, COLLECTION, root / "files", root_name="files")
        add_encoder(ws, "xclip", root / "model", precision="float32")
        index_collection(ws, COLLECTION, "xclip", windows_s=2)
        yield from run_server(ws)


def media(running: Running, name: str) -> content_pb2.Media:
    return content_pb2.Media(content=(running.ws.root.parent / "files" / f"{name}.mp4").read_bytes())


def hits(running: Running, query: search_pb2.Query, **fields: Any) -> list[Any]:
    return list(running.find(collection=COLLECTION, query=query, **fields).hits)


@pytest.mark.parametrize("name", NAMES)
def test_a_video_finds_itself(running: Running, name: str) -> None:
    first = hits(running, search_pb2.Query(video=media(running, name)))[0]

    assert first.id == f"{name}.mp4"
    assert first.score == pytest.approx(1.0, abs=1e-5)


def test_a_video_finds_itself_by_uri(running: Running) -> None:
    query = search_pb2.Query(video=content_pb2.Media(uri="media://files/two.mp4"))

    assert hits(running, query)[0].id == "two.mp4"


def test_a_text_is_asked_of_videos(running: Running) -> None:
    assert len(hits(running, search_pb2.Query(text="a red ship"))) == 3


def test_examples_may_be_videos(running: Running) -> None:
    good = search_pb2.Example(media=media(running, "one"))
    query = search_pb2.Query(
        examples=search_pb2.ExampleQuery(positives=[good], negatives=[search_pb2.Example(text="ship")])
    )

    assert len(hits(running, query)) == 3


def test_a_moment_of_a_video_is_found(running: Running) -> None:
    found = hits(running, search_pb2.Query(video=media(running, "long")), moments=5, limit=20)

    whole, *parts = [hit for hit in found if hit.id == "long.mp4"]
    assert not whole.HasField("span")
    spans = {(hit.span.start, hit.span.end) for hit in parts}
    assert spans in ({(2.0, 4.0)}, {(0.0, 2.0), (4.0, 6.0)})  # moments lie apart


def test_searches_by_different_videos_are_answered_together(running: Running) -> None:
    requests = [
        search_pb2.SearchRequest(collection=COLLECTION, query=query, limit=1)
        for query in (
            search_pb2.Query(video=media(running, "one")),
            search_pb2.Query(text="the blue song"),
            search_pb2.Query(video=content_pb2.Media(content=b"junk")),
            search_pb2.Query(video=media(running, "two")),
        )
    ]

    results = running.search.BatchSearch(search_pb2.BatchSearchRequest(requests=requests)).results

    assert [each.WhichOneof("outcome") for each in results] == ["response", "response", "error", "response"]
    assert results[0].response.hits[0].id == "one.mp4"
    assert results[3].response.hits[0].id == "two.mp4"


def test_an_upserted_video_is_found(running: Running) -> None:
    (running.ws.root.parent / "files" / "new.mp4").write_bytes(noisy_video(9))
    item = items_pb2.Item(id="new", modality=items_pb2.MODALITY_VIDEO, uri="media://files/new.mp4")

    assert not running.upsert(item, collection=COLLECTION).errors
    assert hits(running, search_pb2.Query(video=media(running, "new")))[0].id == "new"
    running.items.DeleteItems(
        items_pb2.DeleteItemsRequest(collection=COLLECTION, ids=items_pb2.ItemIds(ids=["new"]))
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (picture(), "query.video: expected"),
        (sound(), "query.video: expected"),
        (video(seconds=1.0)[:600], "query.video: "),
        (b"", "query.video.content: expected"),
        (b"\0" * 5000, "query.video: "),
    ],
    ids=["a picture", "a sound", "a truncated video", "nothing", "zeros"],
)
def test_what_is_no_video_is_refused(running: Running, content: bytes, expected: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        hits(running, search_pb2.Query(video=content_pb2.Media(content=content)))

    failure = failure_of(caught.value)
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.message.startswith(expected)
    assert len(hits(running, search_pb2.Query(video=media(running, "two")))) == 3


def test_a_picture_is_not_taken_for_a_video(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        hits(running, search_pb2.Query(image=content_pb2.Media(content=picture())))

    assert failure_of(caught.value).reason == "MODALITY_NOT_SERVED"
