"""Making scores heard: notes and a sound font in, samples out."""

import numpy as np
from numpy.typing import NDArray

from indexer.music.scores import Note, Score
from indexer.music.sound_font import SoundFont

Samples = NDArray[np.float32]

PLAYED_RATE = 44_100  # Hz: the sound font's own; what is made of it is resampled
LOUDNESS = 0.1  # root mean square, so that more voices are not louder
PEAK = 0.95

# How strongly each degree of a key is felt. Source: Krumhansl & Kessler 1982.
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def excerpt(score: Score, start: float, quarters: float) -> list[Note]:
    """Take the notes that begin within so many quarters from `start`; a score that ends begins again."""
    first = score.notes[0].onset
    length = max(note.onset + note.length for note in score.notes) - first
    start %= float(length)
    taken: list[Note] = []
    for turn in range(int((start + quarters) // float(length)) + 1):
        for note in score.notes:
            onset = note.onset - first + turn * length
            if start <= onset < start + quarters:
                taken.append(Note(onset, note.length, note.pitch))
    return taken


def play(
    notes: list[Note],
    start: float,
    font: SoundFont,
    program: int,
    *,
    quarter_s: float,
    seconds: float,
    rate: int,
) -> Samples:
    """Play notes on one instrument.

    Args:
        notes: of an excerpt.
        start: the quarter at which it begins.
        font: the instruments.
        program: which one, by its General MIDI number.
        quarter_s: seconds a quarter lasts.
        seconds: what is heard; the rest is cut.
        rate: samples a second that are wanted.

    Returns:
        Mono samples in [-1, 1], equally loud whatever was played, shape (seconds * rate,).
    """
    import soxr

    voices = font.voices(program)
    heard = np.zeros(int(seconds * PLAYED_RATE), np.float32)
    for note in notes:
        at = round((float(note.onset) - start) * quarter_s * PLAYED_RATE)
        sound = font.play(voices, note.pitch, float(note.length) * quarter_s, PLAYED_RATE)[: len(heard) - at]
        heard[at : at + len(sound)] += sound
    samples = np.asarray(soxr.resample(heard, PLAYED_RATE, rate), np.float32)[: int(seconds * rate)]
    loudness = float(np.sqrt(np.mean(samples**2))) or 1.0
    peak = float(np.abs(samples).max()) or 1.0
    return samples * np.float32(min(LOUDNESS / loudness, PEAK / peak))


def key_of(notes: list[Note]) -> str:
    """Tell the key of notes, by the profile that their pitch classes fit best.

    >>> from fractions import Fraction
    >>> steps = (0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0)
    >>> key_of([Note(Fraction(place), Fraction(1), 60 + step) for place, step in enumerate(steps)])
    'C major'
    """
    weights = np.zeros(12)
    for note in notes:
        weights[note.pitch % 12] += float(note.length)
    fits = {
        (tonic, mode): float(np.corrcoef(np.roll(weights, -tonic), profile)[0, 1])
        for mode, profile in (("major", _MAJOR), ("minor", _MINOR))
        for tonic in range(12)
    }
    tonic, mode = max(fits, key=lambda key: fits[key])
    return f"{_NAMES[tonic]} {mode}"
