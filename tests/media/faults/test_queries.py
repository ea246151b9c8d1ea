"""The group *Media* of the fault list, hostile queries: docs/faults.md says which test is for which row.

Each is refused within seconds, with the field that it is in, what was expected and what came.
"""

import io
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from PIL import Image

from protos.twinspire.v1 import content_pb2, encoders_pb2, search_pb2
from retrieval.content import Modality
from tests.media.faults.system import System
from tests.media.files import flac_bomb, picture, png_bomb, png_header, sound, tone, video, wav
from tests.server.running import Failure, failure_of

JUNK = np.random.default_rng(0).bytes(5000)
AT_ONCE_S = 3.0
BAD_PICTURES = {
    "junk": JUNK,
    "a truncated JPEG": picture("JPEG", size=(300, 200))[:400],
    "a huge PNG": png_bomb(),
    "a PNG that promises 4 billion pixels": png_header(65_500, 65_500),
    "a sound": sound(),
    "a video": video(seconds=0.5),
}
BAD_SOUNDS = {
    "junk": JUNK,
    "a truncated MP3": sound("MP3")[:300],
    "a truncated WAV": sound()[:1000],
    "a WAV that claims hours": wav(tone(), promised=4 * 16_000 * 7200),
    "silence of minutes in a small file": flac_bomb(),
    "a picture": picture(),
}


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Nothing takes long, machines under load aside."""
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < AT_ONCE_S


def failure_at(system: System, modality: Modality, query: search_pb2.Query, field: str) -> Failure:
    """Ask what is refused; the error names the field, what was expected and what came."""
    with pytest.raises(grpc.RpcError) as caught:
        system.running.find(collection=modality.value, query=query)
    failure = failure_of(caught.value)
    (violation,) = failure.detail(error_details_pb2.BadRequest).field_violations
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert violation.field.startswith(field)
    assert failure.message.startswith(field)
    return failure


def examples(content: bytes, mime_type: str = "", *, negative: bool = False) -> search_pb2.Query:
    """Ask by an item that is there, and by a file beside it."""
    good = search_pb2.Example(text="red")
    bad = search_pb2.Example(media=content_pb2.Media(content=content, mime_type=mime_type))
    if negative:
        return search_pb2.Query(examples=search_pb2.ExampleQuery(positives=[good], negatives=[bad]))
    return search_pb2.Query(examples=search_pb2.ExampleQuery(positives=[good, bad]))


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_what_is_no_good_picture_is_refused_by_field(system: System, kind: str) -> None:
    query = search_pb2.Query(image=content_pb2.Media(content=BAD_PICTURES[kind]))

    failure_at(system, Modality.IMAGE, query, "query.image")


@pytest.mark.parametrize("kind", BAD_SOUNDS)
def test_what_is_no_good_sound_is_refused_by_field(system: System, kind: str) -> None:
    query = search_pb2.Query(audio=content_pb2.Media(content=BAD_SOUNDS[kind]))

    failure_at(system, Modality.AUDIO, query, "query.audio")


@pytest.mark.parametrize("kind", BAD_PICTURES)
@pytest.mark.parametrize("negative", [False, True])
def test_an_example_that_is_no_good_picture_is_refused_by_field(
    system: System, kind: str, negative: bool
) -> None:
    query = examples(BAD_PICTURES[kind], "image/png", negative=negative)

    field = "query.examples.negatives[0]" if negative else "query.examples.positives[1]"
    failure_at(system, Modality.IMAGE, query, field)


@pytest.mark.parametrize("content", [b"", JUNK, b"<svg/>"])
def test_an_example_of_no_kind_is_refused_by_field(system: System, content: bytes) -> None:
    failure_at(system, Modality.IMAGE, examples(content), "query.examples.positives[1].media")


def test_an_example_says_which_mime_type_it_came_with(system: System) -> None:
    failure = failure_at(
        system, Modality.IMAGE, examples(picture(), "text/plain"), "query.examples.positives[1].media"
    )

    assert "got 'text/plain'" in failure.message


@pytest.mark.parametrize("content", [sound(), sound("MP3"), video(seconds=0.5)])
def test_an_example_that_the_encoder_does_not_take_is_refused(system: System, content: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        system.running.find(collection="image", query=examples(content))

    failure = failure_of(caught.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODALITY_NOT_SERVED")
    assert "query.examples.positives[1]" in failure.message


def test_a_bad_example_beside_good_ones_is_named(system: System) -> None:
    good = search_pb2.Example(media=content_pb2.Media(content=picture()))
    bad = search_pb2.Example(media=content_pb2.Media(content=picture("JPEG", size=(300, 200))[:300]))
    query = search_pb2.Query(examples=search_pb2.ExampleQuery(positives=[good, bad, good]))

    failure_at(system, Modality.IMAGE, query, "query.examples.positives[1]")


@pytest.fixture(scope="module")
def animation() -> bytes:
    """Made before the clock runs, for that takes longest."""
    file = io.BytesIO()
    frames = [Image.new("P", (64, 64), number % 2) for number in range(10_000)]
    for frame in frames:
        frame.putpalette([0, 255, 0, 0, 0, 255])
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def test_an_animation_of_ten_thousand_frames_is_its_first(system: System, animation: bytes) -> None:
    started = time.perf_counter()

    assert system.find(Modality.IMAGE, content=animation) in ("green.png", "good.png")
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize("moments", [-1, 0, 101, (1 << 31) - 1])
def test_moments_out_of_range_are_refused(system: System, moments: int) -> None:
    query = search_pb2.Query(image=content_pb2.Media(content=picture()))

    with pytest.raises(grpc.RpcError) as caught:
        system.running.find(collection="image", query=query, moments=moments)

    assert f"moments: expected 1 to 100, got {moments}" in failure_of(caught.value).message


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_what_is_no_good_picture_is_not_encoded(system: System, kind: str) -> None:
    good, bad = (content_pb2.Media(content=content) for content in (picture(), BAD_PICTURES[kind]))
    inputs = [encoders_pb2.EncodeInput(image=media) for media in (good, bad, good)]

    with pytest.raises(grpc.RpcError) as caught:
        system.running.encoders.Encode(encoders_pb2.EncodeRequest(collection="image", inputs=inputs))

    failure = failure_of(caught.value)
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.message.startswith("inputs[1]: ")
    del inputs[1]
    request = encoders_pb2.EncodeRequest(collection="image", inputs=inputs)
    assert len(system.running.encoders.Encode(request).vectors) == 2
