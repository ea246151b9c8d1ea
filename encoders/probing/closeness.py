"""Whether searches by aspect find what is alike in it, measured on groups that no readout had seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.probing.aspects import known_aspects, layer_shares
from encoders.probing.folds import Rows
from encoders.probing.probes import ProbeData, ProbeScores
from encoders.probing.ridge import Scaler
from encoders.probing.scores import Doubles
from encoders.probing.targets import TARGET_NAMES

NEAREST = 10
MOST_ROWS = 2000  # every row is compared with every other one
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Closeness:
    """How alike the ten nearest are in an aspect: 0 as any ten, 1 not to be told apart."""

    value: float
    low: float  # 95 % interval over groups
    high: float


def closeness(
    data: ProbeData, scores: ProbeScores, vectors: NDArray[np.float32], *, seed: int = 0
) -> dict[str, Mapping[str, Closeness]]:
    """Compare three ways to find what is alike in an aspect.

    "aspect": by what is read, each row by readouts that had not seen its group. "vector": by the encoder's
    own vectors. "measured": by the targets themselves, which bounds what can be reached.

    Args:
        data: what was probed.
        scores: of a linear probe on it.
        vectors: of the encoder, unit rows, shape (n, dims).
        seed: of the rows that are taken where there are many, and of the intervals.

    Returns:
        By aspect, for those that some layer knows.
    """
    rows = np.random.default_rng(seed).permutation(len(data.groups))[:MOST_ROWS]
    unit = Scaler.fit(data.targets)
    truth, groups = unit(data.targets[rows]), data.groups[rows]
    read = unit(np.einsum("lnt,lt->nt", scores.predictions[:, rows], layer_shares(scores)))
    likeness = vectors[rows] @ vectors[rows].T
    told: dict[str, Mapping[str, Closeness]] = {}
    for aspect, targets in known_aspects(scores).items():
        if not targets:
            continue
        columns = [TARGET_NAMES.index(target) for target in targets]
        apart = _apart(truth[:, columns])
        ways = {"aspect": -_apart(read[:, columns]), "vector": likeness, "measured": -apart}
        told[aspect] = {way: _closeness(alike, apart, groups, seed) for way, alike in ways.items()}
    return told


def _apart(values: Doubles) -> Doubles:
    """Return the mean difference of each two rows, shape (n, n)."""
    total = np.zeros((len(values), len(values)))
    for column in values.T:
        total += np.abs(column[:, None] - column[None])
    apart: Doubles = total / values.shape[1]
    return apart


def _closeness(alike: NDArray[np.floating], apart: Doubles, groups: Rows, seed: int) -> Closeness:
    others = groups[:, None] != groups[None]
    count = min(NEAREST, int(others.sum(axis=1).min()))
    nearest = np.argpartition(np.where(others, -alike, np.inf), count - 1, axis=1)[:, :count]
    usual = apart[others].mean()
    values = 1 - np.take_along_axis(apart, nearest, axis=1).mean(axis=1) / usual
    numbers = np.unique(groups, return_inverse=True)[1]
    sums, sizes = np.bincount(numbers, weights=values), np.bincount(numbers)
    drawn = np.random.default_rng(seed).multinomial(
        len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES
    )
    low, high = np.quantile(drawn @ sums / (drawn @ sizes), [0.025, 0.975])
    return Closeness(float(values.mean()), float(low), float(high))
