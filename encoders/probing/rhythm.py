"""When something begins in a sound, how often, how regularly and how abruptly."""

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal
from numpy.typing import NDArray

from encoders.probing.loudness import BLOCKS_PER_SECOND
from encoders.probing.spectrum import FRAME, FRAMES_PER_SECOND, SAMPLE_RATE, Floats, Spectra

RANGE_DB = 80.0  # bands are not followed further down than this below the loudest
SMALLEST_RISE_DB = 1.5  # mean over the bands, above what is usual around it
AROUND_S = 1.0
APART_S = 0.06  # onsets
SPLASH_FRAMES = 3  # as long as a frame overlaps what breaks off
SLOWEST, FASTEST = 30.0, 300.0  # beats per minute
LIKELY = 120.0  # beats per minute: what listeners tap when several rates would do
BEFORE_S, AFTER_S = 0.1, 0.15  # of an onset: where its attack is looked for
FEWEST_ONSETS = 3  # for a tempo


def onset_envelope(spectra: Spectra) -> Floats:
    """Tell how much the bands get louder from one frame to the next, in dB, shape (frames,).

    The mean over the bands of what rises; what falls counts as zero. The first frame rises from silence
    unless it is silent.

    Source: spectral flux over logarithmic mel bands, as in Boeck and Widmer 2013 (DAFx).
    """
    floor = max(float(spectra.bands.max(initial=0.0)) * 10 ** (-RANGE_DB / 10), 1e-12)
    levels = 10 * np.log10(np.maximum(spectra.bands, floor))
    rises = np.diff(levels, axis=0, prepend=levels[:1]).clip(min=0)
    envelope: Floats = rises.mean(axis=1).astype(np.float32)
    return envelope


def onsets(envelope: Floats, power: Floats) -> NDArray[np.int64]:
    """Find the frames in which something begins: peaks that stand out from the second around them.

    What breaks off splashes over all bands, too: it is told apart by the power, which falls.

    Args:
        envelope: of `onset_envelope`, shape (frames,).
        power: of the frames, shape (frames,).
    """
    if len(envelope) < 3:
        return np.empty(0, dtype=np.int64)
    around = int(AROUND_S * FRAMES_PER_SECOND) | 1
    usual = scipy.ndimage.median_filter(envelope, size=around, mode="nearest")
    peaks, _ = scipy.signal.find_peaks(
        envelope,
        height=usual + SMALLEST_RISE_DB,
        prominence=SMALLEST_RISE_DB / 2,
        distance=max(1, round(APART_S * FRAMES_PER_SECOND)),
    )
    before, after = (np.clip(peaks + by, 0, len(power) - 1) for by in (-SPLASH_FRAMES, SPLASH_FRAMES))
    found: NDArray[np.int64] = peaks[power[after] > power[before]]
    return found


def tempo(envelope: Floats, beginnings: NDArray[np.int64]) -> float:
    """Estimate the tempo in beats per minute, 30 to 300; 0 where less than three onsets are.

    The lag at which the onset envelope resembles itself most, where rates near 120 are preferred.

    Source: Ellis 2007, Beat tracking by dynamic programming (autocorrelation, log-normal weighting).
    """
    if len(beginnings) < FEWEST_ONSETS:
        return 0.0
    centred = envelope - envelope.mean()
    size = scipy.fft.next_fast_len(2 * len(centred))
    spectrum = scipy.fft.rfft(centred, size)
    similarity = scipy.fft.irfft(np.abs(spectrum) ** 2, size)
    per_minute = 60 * FRAMES_PER_SECOND
    last = min(int(per_minute / SLOWEST), len(centred) - 2)
    lags = np.arange(int(per_minute / FASTEST), last + 1)
    if not len(lags):
        return 0.0
    weights = np.exp(-0.5 * np.log2(per_minute / lags / LIKELY) ** 2)
    best = int(lags[np.argmax(similarity[lags] * weights)])
    return per_minute / (best + _between(similarity[best - 1 : best + 2]))


def _between(three: Floats) -> float:
    """Tell how far beside the middle one of three neighbours their parabola has its top, -0.5 to 0.5."""
    left, middle, right = map(float, three)
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def attack_sharpness(envelope: Floats, beginnings: NDArray[np.int64]) -> float:
    """Tell how far onsets stand out: their mean rise by the mean rise of all frames; 0 without onsets."""
    usual = float(envelope.mean()) if len(envelope) else 0.0
    return float(envelope[beginnings].mean()) / usual if len(beginnings) and usual > 0 else 0.0


def attack_slope(levels: Floats, beginnings: NDArray[np.int64]) -> float:
    """Tell how steeply onsets rise, in dB per second, on average; 0 without onsets.

    The rise is that from 10 % to 90 % of the way from the lowest level before to the highest one after.

    Args:
        levels: in dB, of blocks of 10 ms, shape (blocks,).
        beginnings: frames of `onsets`.
    """
    blocks_per_frame = BLOCKS_PER_SECOND / FRAMES_PER_SECOND
    middle = FRAME / 2 / SAMPLE_RATE * BLOCKS_PER_SECOND
    slopes = [_slope(levels, round(frame * blocks_per_frame + middle)) for frame in beginnings.tolist()]
    return float(np.mean(slopes)) if slopes else 0.0


def _slope(levels: Floats, block: int) -> float:
    first = max(0, block - round(BEFORE_S * BLOCKS_PER_SECOND))
    near = levels[first : block + round(AFTER_S * BLOCKS_PER_SECOND) + 1]
    if len(near) < 2:
        return 0.0
    top = int(near.argmax())
    low, high = float(near[: top + 1].min()), float(near[top])
    if high <= low:
        return 0.0
    below = np.flatnonzero(near[: top + 1] <= low + 0.1 * (high - low))[-1]
    above = below + np.flatnonzero(near[below : top + 1] >= low + 0.9 * (high - low))[0]
    rise = float(near[above] - near[below])
    return rise * BLOCKS_PER_SECOND / max(1, int(above - below))
