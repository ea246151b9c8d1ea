"""Aspects of a sound: what people ask for, the targets that stand for it, and the layers that know them."""

from collections.abc import Mapping

import numpy as np

from encoders.probing.scores import Doubles
from encoders.probing.targets import TARGET_NAMES

ASPECTS: Mapping[str, tuple[str, ...]] = {
    "brightness": ("spectral_centroid", "spectral_rolloff"),
    "texture": ("spectral_bandwidth", "zero_crossing_rate"),
    "warmth": ("spectral_rolloff", "spectral_bandwidth"),
    "tempo": ("tempo",),
    "rhythmic_energy": ("onset_density", "attack_sharpness"),
    "dynamics": ("dynamic_range", "dynamic_variance", "crescendo_strength", "diminuendo_strength"),
    "harmonic_richness": ("harmonic_complexity",),
    "articulation": ("attack_slopes", "attack_sharpness"),
    "phrasing": ("phrase_regularity", "num_phrases"),
}
# How much a layer's share grows with what it knows: 1 = in proportion to R2.
SHARPNESS = 4.0


def layer_weights(r2: Doubles) -> dict[str, list[float]]:
    """Weigh the layers for each aspect by how well they predict its targets.

    A layer's weight is its mean R2 over the aspect's targets, where less than 0 counts as 0, to the power
    of `SHARPNESS`: the layers that know an aspect stand out.

    Args:
        r2: shape (layers, targets), as `ProbeScores.r2`.

    Returns:
        For each aspect weights that sum to 1; all 0 where no layer predicts it better than the mean does.
    """
    known = np.nan_to_num(r2, nan=0.0).clip(min=0.0)
    weights = {}
    for aspect, targets in ASPECTS.items():
        columns = [TARGET_NAMES.index(target) for target in targets]
        raw = known[:, columns].mean(axis=1) ** SHARPNESS
        weights[aspect] = (raw / (raw.sum() or 1.0)).tolist()
    return weights
