"""From R2 per layer to what reads aspects out of the layers that know them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.probing.probes import ProbeData, ProbeScores
from encoders.probing.ridge import Scaler, tuned_weights
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
# How fast a layer's share grows with its R2: at 16 one that knows a tenth less has a fifth of the weight.
SHARPNESS = 16.0


def known_targets(scores: ProbeScores) -> NDArray[np.bool_]:
    """Tell which targets some layer surely knows: its interval of R2 lies above 0. Shape (targets,)."""
    known: NDArray[np.bool_] = np.any(np.nan_to_num(scores.low, nan=-1.0) > 0, axis=0)
    return known


def layer_shares(scores: ProbeScores) -> Doubles:
    """Share each target out among the layers, by R2 to the power of SHARPNESS.

    Returns:
        Shape (layers, targets): columns sum to 1, or are 0 where no layer knows the target.
    """
    r2 = np.where(known_targets(scores), np.nan_to_num(scores.r2, nan=0.0).clip(min=0.0), 0.0)
    best = r2.max(axis=0)
    raw = (r2 / np.where(best > 0, best, 1.0)) ** SHARPNESS
    shares: Doubles = raw / np.where(best > 0, raw.sum(axis=0), 1.0)
    return shares


def known_aspects(scores: ProbeScores) -> dict[str, list[str]]:
    """Return for each aspect those of its targets that some layer knows."""
    known = {name for name, is_known in zip(TARGET_NAMES, known_targets(scores), strict=True) if is_known}
    return {aspect: [target for target in targets if target in known] for aspect, targets in ASPECTS.items()}


def aspect_layers(scores: ProbeScores) -> dict[str, list[float]]:
    """Return for each aspect the share of each layer: the mean over its known targets; 0 if it has none."""
    shares = layer_shares(scores)
    layers = {}
    for aspect, targets in known_aspects(scores).items():
        columns = [TARGET_NAMES.index(target) for target in targets]
        layers[aspect] = shares[:, columns].mean(axis=1).tolist() if columns else [0.0] * len(shares)
    return layers


@dataclass(frozen=True, slots=True)
class Readouts:
    """A linear map from features to standardised targets."""

    weights: NDArray[np.float32]  # shape (layers * width, targets)
    bias: NDArray[np.float32]  # shape (targets,)


def fit_readouts(data: ProbeData, scores: ProbeScores, *, seed: int) -> Readouts:
    """Fit a linear readout of each layer on all rows, and mix them by the layers' shares.

    Args:
        data: all that was probed.
        scores: of a linear probe, on folds of the same rows.
        seed: of the groups that choose each penalty.
    """
    shares = layer_shares(scores)
    unit = Scaler.fit(data.targets)
    layers, width = data.features.shape[1:]
    weights, bias = np.zeros((layers, width, len(unit.mean))), np.zeros(len(unit.mean))
    for layer in range(layers):
        rows = data.features[:, layer]
        scale = Scaler.fit(rows)
        fitted = tuned_weights(scale(rows), unit(data.targets), data.groups, seed=seed) * shares[layer]
        weights[layer] = fitted / scale.deviation[:, None]
        bias -= scale.mean @ weights[layer]
    return Readouts(weights.reshape(layers * width, -1).astype(np.float32), bias.astype(np.float32))
