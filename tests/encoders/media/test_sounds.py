from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from encoders.media.decoding import Decoder
from encoders.media.specs import AudioSpec
from retrieval.errors import MediaUnreadable
from tests.encoders.media.decoded import AUDIO, decode, hertz, refusal
from tests.media.files import container_sound, sound, tone, video, wav

FORMATS: dict[str, Callable[[], bytes]] = {
    "WAV": lambda: sound("WAV"),
    "24 bit WAV": lambda: sound("WAV", "PCM_24"),
    "FLAC": lambda: sound("FLAC"),
    "MP3": lambda: sound("MP3"),
    "Ogg Vorbis": lambda: sound("OGG"),
    "Ogg Opus": lambda: sound("OGG", "OPUS", rate=48_000),
    "M4A": container_sound,
    "WebM": lambda: container_sound("webm", "libopus"),
    "the sound of a video": lambda: video(seconds=1, with_sound=True),
}


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_is_read(decoder: Decoder, format: str) -> None:
    samples = decode(decoder, FORMATS[format](), AUDIO)

    assert samples.dtype == np.float32
    assert abs(len(samples) - AUDIO.sample_rate) <= AUDIO.sample_rate // 10
    assert hertz(samples, AUDIO.sample_rate) == pytest.approx(440, abs=2)


def test_samples_come_as_they_are_at_their_own_rate(decoder: Decoder) -> None:
    samples = tone()

    assert (decode(decoder, wav(samples), AudioSpec(sample_rate=16_000)) == samples[:, 0]).all()


def test_channels_are_mixed(decoder: Decoder) -> None:
    stereo = np.concatenate([tone(), np.zeros_like(tone())], axis=1)

    mono = decode(decoder, wav(stereo, channels=2), AudioSpec(sample_rate=16_000))

    assert mono == pytest.approx(tone()[:, 0] / 2, abs=1e-6)


def test_loud_samples_are_clipped(decoder: Decoder) -> None:
    assert np.abs(decode(decoder, wav(4 * tone()), AUDIO)).max() == 1


def test_what_is_longer_is_cut(decoder: Decoder) -> None:
    samples = decode(decoder, sound(seconds=3), AudioSpec(sample_rate=8_000, max_seconds=1.5))

    assert len(samples) == 12_000


@pytest.mark.parametrize("format", ["FLAC", "M4A"])
def test_a_span_is_what_is_played_there(decoder: Decoder, format: str) -> None:
    whole_s = 3.0
    file = sound("FLAC", seconds=whole_s) if format == "FLAC" else container_sound(seconds=whole_s)
    spec = AudioSpec(sample_rate=16_000 if format == "FLAC" else 48_000)

    part = decode(decoder, file, spec, (1.0, 2.5))

    whole = decode(decoder, file, spec)
    start, end = spec.sample_rate, round(2.5 * spec.sample_rate)
    assert len(part) == end - start
    assert part == pytest.approx(whole[start:end], abs=1e-3)


def test_a_span_may_go_beyond_the_end(decoder: Decoder) -> None:
    assert len(decode(decoder, sound(seconds=2), AUDIO, (1.5, 9.0))) == 4_000


def test_a_span_after_the_end_is_refused(decoder: Decoder) -> None:
    assert isinstance(refusal(decoder, sound(seconds=2), AUDIO, (2.5, 9.0)), MediaUnreadable)


def test_facts_tell_length_channels_and_rate(decoder: Decoder) -> None:
    facts = decoder.facts(sound("FLAC", seconds=1.5, channels=2))

    assert (facts.modality, facts.mime_type) == ("audio", "audio/flac")
    assert (facts.duration_s, facts.channels, facts.sample_rate) == (1.5, 2, 16_000)


def test_facts_of_an_m4a_are_those_of_a_sound(decoder: Decoder) -> None:
    facts = decoder.facts(container_sound())

    assert (facts.modality, facts.mime_type, facts.duration_s) == ("audio", "audio/mp4", 1.0)


def test_a_file_is_read_where_it_lies(decoder: Decoder, tmp_path: Path) -> None:
    file = tmp_path / "tone ü.mp3"
    file.write_bytes(sound("WAV"))

    assert len(decode(decoder, file, AUDIO)) == 8_000
