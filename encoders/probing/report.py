"""What a probing found, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from encoders.probing.closeness import Closeness
from encoders.probing.folds import FOLDS
from encoders.probing.probes import ProbeKind, ProbeScores, best_layers
from encoders.probing.scores import Doubles
from encoders.probing.targets import TARGETS

MAPPED_BY: ProbeKind = "tuned"  # whose R2 share aspects out among the layers: the linear probe that fits best


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a probing found."""

    collection: str
    model: str  # name@version of the encoder whose features these are
    group_by: str  # the attribute; "" = each item for itself
    segments: int
    groups: int
    layers: int
    width: int
    targets: tuple[str, ...]
    means: Doubles  # of each target over the segments, in its unit
    deviations: Doubles
    scores: Mapping[ProbeKind, ProbeScores]
    baseline: Doubles  # R2 of the mean of what is learned from
    aspects: Mapping[str, Sequence[float]]  # the share of each layer
    closeness: Mapping[str, Mapping[str, Closeness]]  # by aspect and way of searching
    run: int
    reader: str  # name@version of what reads the aspects

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values; R2 of a target that does not vary is None."""
        return {
            "collection": self.collection,
            "features": self.model,
            "run": self.run,
            "n": self.segments,
            "groups": self.groups,
            "group_by": self.group_by or "item",
            "folds": FOLDS,
            "layers": self.layers,
            "width": self.width,
            "mapped_by": MAPPED_BY,
            "aspects_model": self.reader,
            "targets": {
                name: {
                    "unit": target.unit,
                    "mean": float(self.means[place]),
                    "deviation": float(self.deviations[place]),
                    "baseline_r2": _plain(self.baseline[place]),
                    **{kind: _target_json(scores, place) for kind, scores in self.scores.items()},
                }
                for place, (name, target) in enumerate(zip(self.targets, TARGETS, strict=True))
            },
            "aspect_search": {
                aspect: {way: asdict(found) for way, found in ways.items()}
                for aspect, ways in self.closeness.items()
            },
            "aspects": {aspect: list(weights) for aspect, weights in self.aspects.items()},
        }


def _target_json(scores: ProbeScores, place: int) -> dict[str, Any]:
    best = best_layers(scores.r2)[place]
    low, high = (None, None) if best is None else (scores.low[best, place], scores.high[best, place])
    return {
        "best_layer": best,
        "best_r2": None if best is None else float(scores.r2[best, place]),
        "best_interval": [_plain(low), _plain(high)],
        "r2": [_plain(value) for value in scores.r2[:, place]],
    }


def _plain(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
