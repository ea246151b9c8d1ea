"""How loud a sound is over time: range, swelling, fading, and the pauses that part its phrases."""

import numpy as np
import scipy.ndimage
import scipy.signal
from numpy.typing import NDArray

from encoders.probing.spectrum import QUIET_DB, SAMPLE_RATE, SILENT_POWER, Floats, Samples, is_sounding

BLOCKS_PER_SECOND = 100  # blocks of 10 ms
_BLOCK = SAMPLE_RATE // BLOCKS_PER_SECOND
_STEP = 5  # blocks: 50 ms
STEPS_PER_SECOND = BLOCKS_PER_SECOND // _STEP
SWELL_S = 1.0  # what is shorter is a note, not a crescendo
SWELL_STEP_S = 0.5
PAUSE_S = 0.5
PAUSE_DB = 6.0  # how far the level dips between two phrases
SHORTEST_PHRASE_S = 1.5
QUIETEST, LOUDEST = 10, 95  # percentiles between which the dynamic range lies


def block_powers(samples: Samples) -> Floats:
    """Return the mean square of each block of 10 ms, shape (blocks,); a remainder is left out."""
    if len(samples) < _BLOCK:
        samples = np.pad(samples, (0, _BLOCK - len(samples)))
    blocks = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    powers: Floats = np.einsum("bs,bs->b", blocks, blocks) / np.float32(_BLOCK)
    return powers


def levels_of(powers: Floats) -> Floats:
    """Turn powers into dB of full scale, cut at 60 dB below the loudest."""
    floor = max(float(powers.max(initial=0.0)) * 10 ** (-QUIET_DB / 10), SILENT_POWER)
    levels: Floats = (10 * np.log10(np.maximum(powers, floor))).astype(np.float32)
    return levels


def steps_of(powers: Floats) -> Floats:
    """Average the powers of blocks to steps of 50 ms, shape (steps,)."""
    size = min(_STEP, len(powers))
    steps: Floats = powers[: len(powers) // size * size].reshape(-1, size).mean(axis=1)
    return steps


def dynamic_range(steps: Floats) -> float:
    """Return by how many dB the loud steps are above the soft ones (95th over 10th percentile)."""
    levels = levels_of(steps)[is_sounding(steps)]
    if not len(levels):
        return 0.0
    soft, loud = np.percentile(levels, (QUIETEST, LOUDEST))
    return float(loud - soft)


def dynamic_variance(steps: Floats) -> float:
    """Return the variance of the level over the steps that sound, in dB squared."""
    levels = levels_of(steps)[is_sounding(steps)]
    return float(levels.var(dtype=np.float64)) if len(levels) else 0.0


def swelling(steps: Floats) -> tuple[float, float]:
    """Return by how many dB per second the level of whole seconds rises, and by how many it falls.

    Both are means over the whole sound: where it falls, its rise counts as zero.
    """
    window = round(SWELL_S * STEPS_PER_SECOND)
    smooth = levels_of(_smooth(steps, window))[:: round(SWELL_STEP_S * STEPS_PER_SECOND)]
    changes = np.diff(smooth)
    if not len(changes):
        return 0.0, 0.0
    seconds = len(changes) * SWELL_STEP_S
    rises = float(changes.clip(min=0).sum())
    return rises / seconds, (rises - float(changes.sum())) / seconds


def phrase_lengths(steps: Floats) -> NDArray[np.float64]:
    """Return the lengths of phrases in seconds: what lies between two pauses or dips; none if it is silent.

    A dip is where the level of half a second falls by 6 dB at least and rises by as much again.
    """
    sounding = np.flatnonzero(is_sounding(steps))
    if not len(sounding):
        return np.empty(0)
    steps = steps[sounding[0] : sounding[-1] + 1]
    levels = levels_of(_smooth(steps, round(PAUSE_S * STEPS_PER_SECOND)))
    dips, _ = scipy.signal.find_peaks(
        -levels, prominence=PAUSE_DB, distance=round(SHORTEST_PHRASE_S * STEPS_PER_SECOND)
    )
    return np.diff([0, *dips.tolist(), len(steps)]) / STEPS_PER_SECOND


def regularity(lengths: NDArray[np.float64]) -> float:
    """Tell how equal lengths are: 1 / (1 + standard deviation / mean); 0 for less than two.

    >>> regularity(np.array([2.0, 2.0])), regularity(np.array([1.0, 3.0])), regularity(np.array([5.0]))
    (1.0, 0.6666666666666666, 0.0)
    """
    if len(lengths) < 2:
        return 0.0
    return float(1 / (1 + lengths.std() / lengths.mean()))


def _smooth(steps: Floats, window: int) -> Floats:
    smoothed: Floats = scipy.ndimage.uniform_filter1d(steps, min(window, len(steps)), mode="nearest")
    return smoothed.clip(min=0)
