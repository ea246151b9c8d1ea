"""The spectrum of a sound, frame by frame: its shape, its bands and its pitch classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Floats = NDArray[np.float32]

SAMPLE_RATE = 24_000  # Hz
FRAME = 2048  # samples: 85 ms
HOP = 480  # samples: 50 frames a second
FRAMES_PER_SECOND = SAMPLE_RATE // HOP
# Long frames tell the semitones of low notes apart.
PITCH_FRAME = 8192  # samples: bins of 2.9 Hz
PITCH_HOP = 4096
PITCH_RANGE = (65.0, 4_000.0)  # Hz
BANDS = 40
LOWEST_BAND = 30.0  # Hz
ROLLOFF = 0.85  # of a frame's magnitude
QUIET_DB = 60.0  # below the loudest frame: counts as silence
SILENT_POWER = 1e-10  # mean square: quieter is silence in any sound
_AT_ONCE = 2048  # frames: some 30 MB


@dataclass(frozen=True, slots=True)
class Spectra:
    """What is kept of each frame; arrays of one length."""

    power: Floats  # mean square of the samples, shape (frames,)
    centroid: Floats  # Hz
    rolloff: Floats  # Hz
    bandwidth: Floats  # Hz
    crossings: Floats  # sign changes per sample
    bands: Floats  # power in mel bands, shape (frames, BANDS)

    @property
    def sounding(self) -> NDArray[np.bool_]:
        """Which frames are not silence, shape (frames,)."""
        return is_sounding(self.power)


def is_sounding(power: Floats) -> NDArray[np.bool_]:
    """Tell which powers are less than 60 dB below the highest, and more than none.

    >>> is_sounding(np.array([1.0, 1e-5, 1e-7], dtype=np.float32)).tolist()
    [True, True, False]
    """
    loudest = float(power.max(initial=0.0))
    return power > max(SILENT_POWER, loudest * 10 ** (-QUIET_DB / 10))


def mean_over(values: Floats, chosen: NDArray[np.bool_]) -> float:
    """Average the chosen values; 0 if none is."""
    return float(values[chosen].mean()) if chosen.any() else 0.0


def spectra_of(samples: Samples) -> Spectra:
    """Analyse a sound.

    Args:
        samples: mono at SAMPLE_RATE, shape (samples,).
    """
    parts = [_analyse(frames) for frames in frames_of(samples, FRAME, HOP)]
    return Spectra(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def frames_of(samples: Samples, frame: int, hop: int) -> Iterator[Samples]:
    """Cut a sound into overlapping frames, so many at once that memory stays small.

    A sound shorter than a frame is filled up with silence.

    Yields:
        Shape (n, frame), n at most 2048.
    """
    if len(samples) < frame:
        samples = np.pad(samples, (0, frame - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, frame)[::hop]
    for start in range(0, len(frames), _AT_ONCE):
        yield frames[start : start + _AT_ONCE]


def _analyse(frames: Samples) -> tuple[Floats, ...]:
    magnitude = magnitudes(frames)
    hertz = bin_hertz(FRAME)
    total = magnitude.sum(axis=1) + np.float32(1e-12)
    centroid = magnitude @ hertz / total
    # The spread around the centroid, without an array of all distances.
    variance = magnitude @ hertz**2 / total - centroid**2
    rolloff = hertz[
        (np.cumsum(magnitude, axis=1) < ROLLOFF * total[:, None]).sum(axis=1).clip(max=FRAME // 2)
    ]
    negative = np.signbit(frames)
    crossings = (negative[:, 1:] != negative[:, :-1]).mean(axis=1, dtype=np.float32)
    bands = magnitude**2 @ mel_bands(FRAME)
    power = np.einsum("fs,fs->f", frames, frames) / np.float32(FRAME)
    return power, centroid, rolloff, np.sqrt(variance.clip(min=0)), crossings, bands


def magnitudes(frames: Samples) -> Floats:
    """Return the magnitude spectra of frames under a Hann window, shape (n, frame // 2 + 1)."""
    spectrum: Floats = np.abs(scipy.fft.rfft(frames * _window(frames.shape[1]), axis=1))
    return spectrum


@cache
def _window(frame: int) -> Floats:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)).astype(np.float32)


@cache
def bin_hertz(frame: int) -> Floats:
    """Return the frequency of each bin in Hz, shape (frame // 2 + 1,)."""
    return (np.arange(frame // 2 + 1) * (SAMPLE_RATE / frame)).astype(np.float32)


@cache
def mel_bands(frame: int) -> Floats:
    """Return triangles, evenly spread on the mel scale, that sum bins into bands: (bins, BANDS)."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST_BAND, SAMPLE_RATE / 2))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hertz = bin_hertz(frame)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.minimum(rising, falling).clip(min=0).astype(np.float32)


def pitch_classes(samples: Samples) -> Floats:
    """Share the power of each long frame out among the twelve pitch classes.

    Args:
        samples: mono at SAMPLE_RATE, shape (samples,).

    Returns:
        Rows that sum to 1, of the frames that sound, shape (frames, 12); C is not first: A is.
    """
    classes = _pitch_matrix()
    power = np.concatenate(
        [magnitudes(frames) ** 2 @ classes for frames in frames_of(samples, PITCH_FRAME, PITCH_HOP)]
    )
    total = power.sum(axis=1)
    # A window of N samples sums to N/2: this is the mean square again, about.
    sounding = is_sounding(total / np.float32(PITCH_FRAME**2 / 4))
    shares: Floats = power[sounding] / total[sounding, None]
    return shares


@cache
def _pitch_matrix() -> Floats:
    hertz = bin_hertz(PITCH_FRAME)
    audible = (hertz >= PITCH_RANGE[0]) & (hertz <= PITCH_RANGE[1])
    semitone = np.round(12 * np.log2(np.maximum(hertz, 1) / 440)).astype(np.int64) % 12
    matrix = np.zeros((len(hertz), 12), dtype=np.float32)
    matrix[audible, semitone[audible]] = 1
    return matrix
