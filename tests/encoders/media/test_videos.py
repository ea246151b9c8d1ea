import itertools
from collections.abc import Callable

import numpy as np
import pytest

from encoders.media.decoding import Decoder
from encoders.media.specs import ImageSpec, VideoSpec
from retrieval.errors import MediaUnreadable
from tests.encoders.media.decoded import IMAGE, VIDEO, decode, refusal
from tests.media.files import sound, turned_video, video

FORMATS: dict[str, Callable[[], bytes]] = {
    "MP4": lambda: video("mp4"),
    "MOV": lambda: video("mov"),
    "WebM": lambda: video("webm", "libvpx-vp9"),
    "MKV": lambda: video("matroska"),
}


@pytest.mark.parametrize("format", FORMATS)
def test_frames_are_spread_evenly(decoder: Decoder, format: str) -> None:
    frames = decode(decoder, FORMATS[format](), VIDEO)

    assert frames.shape == (4, 8, 8, 3)
    # From black to white: the middles of four quarters.
    assert frames.mean(axis=(1, 2, 3)) == pytest.approx([32, 96, 159, 223], abs=8)


def test_a_span_is_what_is_shown_there(decoder: Decoder) -> None:
    frames = decode(decoder, video(), VIDEO, (2.0, 3.0))

    assert frames.mean(axis=(1, 2, 3)) == pytest.approx([136, 152, 168, 183], abs=8)


@pytest.mark.parametrize("key_every", [5, 250])
def test_jumping_and_decoding_on_give_the_same(decoder: Decoder, key_every: int) -> None:
    file = video(key_every=key_every)

    together = decode(decoder, file, VideoSpec(frames=16, image=IMAGE))

    spans = [(4 * part / 16, 4 * (part + 1) / 16) for part in range(16)]
    alone = [decode(decoder, file, VideoSpec(frames=1, image=IMAGE), span)[0] for span in spans]
    assert (together == np.stack(alone)).all()


def test_more_frames_than_there_are_repeat_some(decoder: Decoder) -> None:
    frames = decode(decoder, video(seconds=0.2), VideoSpec(frames=20, image=IMAGE))

    means = frames.mean(axis=(1, 2, 3))
    assert all(one <= other for one, other in itertools.pairwise(means))
    assert len(set(means.tolist())) == 5


def test_a_spec_sets_the_shape(decoder: Decoder) -> None:
    spec = VideoSpec(frames=3, image=ImageSpec(height=10, width=12, short_edge=20))

    assert decode(decoder, video(), spec).shape == (3, 10, 12, 3)


def test_a_video_without_a_length_in_its_header_is_measured(decoder: Decoder) -> None:
    file = video("webm", "libvpx-vp9")
    place = file.index(b"\x44\x89\x88")  # Duration, a float of eight bytes
    nameless = file[:place] + b"\xec\x89" + file[place + 2 :]  # Void, of the same size

    assert decode(decoder, nameless[: place + 2] + b"\x88" + nameless[place + 3 :], VIDEO).shape[0] == 4


def test_facts_tell_size_length_and_sound(decoder: Decoder) -> None:
    facts = decoder.facts(video(with_sound=True))

    assert (facts.modality, facts.mime_type, facts.frames) == ("video", "video/mp4", 100)
    assert (facts.width, facts.height, facts.duration_s) == (64, 48, 4.0)
    assert (facts.channels, facts.sample_rate) == (1, 16_000)


@pytest.mark.parametrize(("quarters", "black"), list(enumerate(["left", "top", "right", "bottom"])))
def test_a_turned_video_is_shown_upright(decoder: Decoder, quarters: int, black: str) -> None:
    file = turned_video(quarters)

    pixels = decode(decoder, file, VideoSpec(frames=1, image=ImageSpec(height=8, width=8, fit="squash")))[0]
    facts = decoder.facts(file)

    means = {
        "left": pixels[:, :3].mean(),
        "right": pixels[:, 5:].mean(),
        "top": pixels[:3].mean(),
        "bottom": pixels[5:].mean(),
    }
    assert min(means, key=lambda side: means[side]) == black
    assert (facts.width, facts.height) == ((64, 48) if quarters % 2 == 0 else (48, 64))


def test_a_thumbnail_is_of_the_middle(decoder: Decoder) -> None:
    small = decode(decoder, decoder.thumbnail(video()), IMAGE)

    assert small.mean() == pytest.approx(128, abs=8)


def test_a_sound_is_no_video(decoder: Decoder) -> None:
    assert isinstance(refusal(decoder, sound(), VIDEO), MediaUnreadable)
