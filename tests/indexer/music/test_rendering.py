"""Notes are made heard by a sound font."""

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from indexer.music.rendering import excerpt, play
from indexer.music.scores import Note, Score
from indexer.music.sound_font import SoundFont
from retrieval.errors import CorruptArtifact

RATE = 16_000
PERIOD = 50  # samples: 320 Hz


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def generators(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<Hh", *pair) for pair in pairs)


@pytest.fixture(scope="session")
def font(tmp_path_factory: pytest.TempPathFactory) -> SoundFont:
    """One instrument: a looped sine at key 60 that sustains, for keys 40 to 80."""
    wave = (np.sin(np.arange(4 * PERIOD) * 2 * np.pi / PERIOD) * 20_000).astype("<i2").tobytes()
    name = b"x".ljust(20, b"\0")
    pdta = (
        chunk(b"phdr", b"".join(name + struct.pack("<HHH12x", 0, 0, zone) for zone in (0, 1)))
        + chunk(b"pbag", struct.pack("<4H", 0, 0, 1, 0))
        + chunk(b"pgen", generators((41, 0), (0, 0)))
        + chunk(b"inst", b"".join(name + struct.pack("<H", zone) for zone in (0, 1)))
        + chunk(b"ibag", struct.pack("<4H", 0, 0, 3, 0))
        + chunk(b"igen", generators((43, 80 * 256 + 40), (54, 1), (53, 0), (0, 0)))
        + chunk(b"shdr", (name + struct.pack("<5IBb4x", 0, 4 * PERIOD, 0, 4 * PERIOD, RATE, 60, 0)) * 2)
    )
    lists = chunk(b"LIST", b"sdta" + chunk(b"smpl", wave)) + chunk(b"LIST", b"pdta" + pdta)
    file = tmp_path_factory.mktemp("font") / "small.sf2"
    file.write_bytes(chunk(b"RIFF", b"sfbk" + lists))
    return SoundFont(file)


def frequency(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE / len(samples))


@pytest.mark.parametrize(("key", "hertz"), [(60, 320), (72, 640), (48, 160)])
def test_an_octave_doubles_the_frequency(font: SoundFont, key: int, hertz: float) -> None:
    assert frequency(font.play(font.voices(0), key, 1.0, RATE)[:RATE]) == pytest.approx(hertz, abs=2)


def test_a_looped_sample_sounds_as_long_as_the_key_is_held(font: SoundFont) -> None:
    samples = font.play(font.voices(0), 60, 2.0, RATE)

    assert np.abs(samples[int(1.9 * RATE) : 2 * RATE]).max() > 0.1
    assert np.abs(samples[-5:]).max() < 0.01


def test_a_key_out_of_range_is_silent(font: SoundFont) -> None:
    assert len(font.play(font.voices(0), 90, 1.0, RATE)) == 0


@pytest.mark.parametrize("content", [b"", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0sfbk"])
def test_what_is_no_sound_font_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.sf2").write_bytes(content)

    with pytest.raises(CorruptArtifact):
        SoundFont(tmp_path / "x.sf2")


def scale(*pitches: int) -> Score:
    notes = (Note(Fraction(place), Fraction(1), pitch) for place, pitch in enumerate(pitches))
    return Score(tuple(notes), Fraction(1))


def test_more_voices_are_not_louder(font: SoundFont) -> None:
    loudness = []
    for pitches in ((60,), (60, 64, 67)):
        notes = [Note(Fraction(0), Fraction(4), pitch) for pitch in pitches]
        samples = play(notes, 0, font, 0, quarter_s=0.25, seconds=1.0, rate=RATE)
        loudness.append(float(np.sqrt(np.mean(samples**2))))

    assert loudness[0] == pytest.approx(loudness[1], rel=0.01)


def test_a_clip_is_as_long_as_was_asked(font: SoundFont) -> None:
    samples = play(list(scale(60).notes), 0, font, 0, quarter_s=0.5, seconds=3.0, rate=RATE)

    assert len(samples) == 3 * RATE


def test_a_piece_that_ends_begins_again() -> None:
    assert [note.pitch for note in excerpt(scale(60, 62, 64), 0, 5)] == [60, 62, 64, 60, 62]


def test_an_excerpt_starts_where_it_is_asked_to() -> None:
    assert [(int(note.onset), note.pitch) for note in excerpt(scale(60, 62, 64), 2, 2)] == [(2, 64), (3, 60)]
