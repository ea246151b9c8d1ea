"""The fifteen properties of a sound that probes look for in the layers of an audio model."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.media.specs import AudioSpec
from encoders.probing import loudness, rhythm
from encoders.probing.spectrum import (
    ROLLOFF,
    SAMPLE_RATE,
    Floats,
    Samples,
    mean_over,
    pitch_classes,
    spectra_of,
)

# Changes with every definition, so that stored values of older ones are not taken for these.
DEFINITION = 1
MAX_SECONDS = 600.0  # what is longer is measured to here


@dataclass(frozen=True, slots=True)
class Target:
    """A property that is measured from the sound itself. Silence has 0 of each."""

    name: str
    unit: str
    definition: str


TARGETS = (
    Target("spectral_centroid", "Hz", "mean frequency, weighted by magnitude; mean of the sounding frames"),
    Target("spectral_rolloff", "Hz", f"below it lies {ROLLOFF:.0%} of a frame's magnitude; mean"),
    Target("spectral_bandwidth", "Hz", "standard deviation of frequency around the centroid; mean"),
    Target("zero_crossing_rate", "1/sample", "share of samples whose sign differs from the last one's"),
    Target("tempo", "beats/min", "lag at which onsets repeat, 30 to 300; 0 = fewer than three onsets"),
    Target("onset_density", "1/s", "onsets per second"),
    Target("dynamic_range", "dB", "95th less 10th percentile of the level of 50 ms"),
    Target("dynamic_variance", "dB^2", "variance of the level of 50 ms, where it sounds"),
    Target("crescendo_strength", "dB/s", "how much the level of whole seconds rises per second of sound"),
    Target("diminuendo_strength", "dB/s", "how much the level of whole seconds falls per second of sound"),
    Target("harmonic_complexity", "bit", "entropy of the twelve pitch classes, 0 to 3.58; mean"),
    Target("attack_slopes", "dB/s", "steepness of the rise at onsets, from 10 % to 90 % of it; mean"),
    Target("attack_sharpness", "1", "rise of the bands at onsets, by that of all frames"),
    Target("phrase_regularity", "1", "1 / (1 + deviation / mean) of phrase lengths; 0 = one phrase"),
    Target("num_phrases", "1", "stretches between dips of 6 dB, 1.5 s apart at least"),
)
TARGET_NAMES = tuple(target.name for target in TARGETS)
SPEC = AudioSpec(sample_rate=SAMPLE_RATE, max_seconds=MAX_SECONDS)
FINGERPRINT = hashlib.sha256(
    f"twinspire proxy targets {DEFINITION} {SAMPLE_RATE} {MAX_SECONDS} {TARGET_NAMES}".encode()
).hexdigest()


def measure(samples: Samples) -> NDArray[np.float32]:
    """Measure the fifteen targets of a sound.

    The same samples always give the same values, and all are finite: what a sound does not have is 0.

    Args:
        samples: mono at 24 kHz, as `SPEC` decodes, shape (samples,).

    Returns:
        In the order and units of TARGETS, shape (15,).
    """
    spectra, powers = spectra_of(samples), loudness.block_powers(samples)
    sounding, steps = spectra.sounding, loudness.steps_of(powers)
    envelope = rhythm.onset_envelope(spectra)
    beginnings = rhythm.onsets(envelope, spectra.power)
    rise, fall = loudness.swelling(steps)
    phrases = loudness.phrase_lengths(steps)
    values = {
        "spectral_centroid": mean_over(spectra.centroid, sounding),
        "spectral_rolloff": mean_over(spectra.rolloff, sounding),
        "spectral_bandwidth": mean_over(spectra.bandwidth, sounding),
        "zero_crossing_rate": mean_over(spectra.crossings, sounding),
        "tempo": rhythm.tempo(envelope, beginnings),
        "onset_density": len(beginnings) * SAMPLE_RATE / max(len(samples), 1),
        "dynamic_range": loudness.dynamic_range(steps),
        "dynamic_variance": loudness.dynamic_variance(steps),
        "crescendo_strength": rise,
        "diminuendo_strength": fall,
        "harmonic_complexity": harmonic_complexity(pitch_classes(samples)),
        "attack_slopes": rhythm.attack_slope(loudness.levels_of(powers), beginnings),
        "attack_sharpness": rhythm.attack_sharpness(envelope, beginnings),
        "phrase_regularity": loudness.regularity(phrases),
        "num_phrases": float(len(phrases)),
    }
    return np.array([values[name] for name in TARGET_NAMES], dtype=np.float32)


def harmonic_complexity(shares: Floats) -> float:
    """Return the mean entropy of pitch classes in bit: 0 for one tone, log2(12) for noise.

    Args:
        shares: rows that sum to 1, shape (frames, 12); none of them: 0.

    >>> harmonic_complexity(np.array([[0.5, 0.5] + 10 * [0.0]], dtype=np.float32))
    1.0
    """
    if not len(shares):
        return 0.0
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1)
    return float(entropy.mean())
