"""Fuzzing by hypothesis, bounded: whatever is in a file, this process lives and the next file is read."""

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoders.media.decoding import Decoder
from encoders.media.sniffing import sniff
from encoders.media.specs import DecodeSpec
from retrieval.errors import InvalidInput
from tests.encoders.media.decoded import AUDIO, IMAGE, VIDEO, decode, is_grey
from tests.media.files import container_sound, picture, sound, video

BOUNDED = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@cache
def seeds() -> list[tuple[bytes, DecodeSpec]]:
    """Return a small file of each format."""
    pictures = [picture(format) for format in ("JPEG", "PNG", "WEBP", "BMP")] + [picture("GIF", "P")]
    sounds = [sound(format, seconds=0.2) for format in ("WAV", "FLAC", "OGG", "MP3")]
    sounds += [sound("OGG", "OPUS", 0.2, 48_000), container_sound(seconds=0.2)]
    videos = [video(seconds=0.4), video("webm", "libvpx-vp9", seconds=0.4)]
    return (
        [(content, IMAGE) for content in pictures]
        + [(content, AUDIO) for content in sounds]
        + [(content, VIDEO) for content in videos]
    )


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, DecodeSpec]:
    """Damage a good file: some bytes become others, a part is cut out or doubled."""
    content, spec = draw(st.sampled_from(seeds()))
    body = bytearray(content)
    for _ in range(draw(st.integers(0, 8))):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    start, end = sorted((draw(st.integers(0, len(body))), draw(st.integers(0, len(body)))))
    how = draw(st.sampled_from(["whole", "whole", "cut", "doubled", "ended"]))
    if how == "cut":
        del body[start : min(end, start + 64)]
    elif how == "doubled":
        body[start:start] = body[start:end]
    elif how == "ended":
        del body[end:]
    return bytes(body), spec


@pytest.mark.slow
@BOUNDED
@given(damaged())
def test_a_damaged_file_is_read_or_refused(decoder: Decoder, file: tuple[bytes, DecodeSpec]) -> None:
    content, spec = file
    (outcome,) = decoder.decode([(content, spec, None)])
    (facts,) = decoder.all_facts([content])

    assert isinstance(outcome, np.ndarray | InvalidInput)
    assert not isinstance(facts, Exception) or isinstance(facts, InvalidInput)
    assert is_grey(decode(decoder, picture()))


@BOUNDED
@given(st.binary(max_size=200), st.sampled_from([IMAGE, AUDIO, VIDEO]))
def test_junk_is_refused(decoder: Decoder, content: bytes, spec: DecodeSpec) -> None:
    (outcome,) = decoder.decode([(content, spec, None)])

    assert isinstance(outcome, InvalidInput)


@BOUNDED
@given(damaged().map(lambda file: file[0]))
def test_sniffing_takes_any_bytes(content: bytes) -> None:
    kind = sniff(content)
    assert kind is None or kind.family in ("image", "sound", "container")
