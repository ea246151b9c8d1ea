"""Sounds whose properties are known."""

import numpy as np
from numpy.typing import NDArray

from encoders.probing.spectrum import SAMPLE_RATE

Sound = NDArray[np.float32]


def times(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def sine(hertz: float = 440.0, seconds: float = 10.0, level_db: NDArray[np.float64] | float = -6.0) -> Sound:
    """A tone whose amplitude has this level, constant or for each sample."""
    wave = 10 ** (np.asarray(level_db) / 20) * np.sin(2 * np.pi * hertz * times(seconds))
    return wave.astype(np.float32)


def noise(seconds: float = 10.0, seed: int = 0) -> Sound:
    return (0.1 * np.random.default_rng(seed).standard_normal(len(times(seconds)))).astype(np.float32)


def clicks(per_minute: float, seconds: float = 20.0) -> Sound:
    """Short bursts of noise, as many a minute, the first one after half a second."""
    sound = np.zeros(len(times(seconds)), dtype=np.float32)
    burst = noise(0.02)
    for start in np.arange(0.5, seconds - 0.1, 60 / per_minute):
        at = round(start * SAMPLE_RATE)
        sound[at : at + len(burst)] = burst
    return sound
