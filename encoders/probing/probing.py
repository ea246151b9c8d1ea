"""Probing a collection: from stored features and proxy targets to a run that tells which layer knows what."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoders.encoder import LayeredEncoder
from encoders.probing.aspects import layer_weights
from encoders.probing.folds import FOLDS, SEED, Rows, number_groups
from encoders.probing.meter import targets_of
from encoders.probing.probes import (
    KINDS,
    OnStep,
    ProbeData,
    ProbeKind,
    ProbeScores,
    best_layers,
    mean_baseline,
    probe,
)
from encoders.probing.scores import Doubles
from encoders.probing.targets import FINGERPRINT, TARGET_NAMES, TARGETS
from retrieval.collections import require_collection
from retrieval.errors import InvalidInput
from retrieval.features import read_features
from retrieval.index import Keys
from retrieval.layer_maps import RUN_KIND
from retrieval.registry import finish_run, start_run
from retrieval.segments import as_json
from retrieval.workspace import Workspace

MAPPED_BY: ProbeKind = (
    "tuned"  # the probe whose R2 weigh the layers of aspects: the linear one that fits best
)


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
    aspects: Mapping[str, Sequence[float]]  # a weight for each layer
    run: int = 0

    @property
    def mapped_by(self) -> ProbeKind:
        """The probe that the aspects' weights come from."""
        return MAPPED_BY if MAPPED_BY in self.scores else next(iter(self.scores))

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
            "mapped_by": self.mapped_by,
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


def probe_collection(
    ws: Workspace,
    collection: str,
    encoder: LayeredEncoder,
    *,
    group_by: str = "",
    kinds: Sequence[ProbeKind] = KINDS,
    seed: int = SEED,
    on_step: OnStep = lambda *_: None,
) -> ProbeReport:
    """Probe the stored features of a collection for the proxy targets, and keep the result as a run.

    Searches by aspect use the newest run from now on.

    Args:
        ws: the workspace.
        collection: its name.
        encoder: whose features are probed; they and the targets are there already.
        group_by: the attribute whose equal values are never parted by a fold, such as "work"; items that
            lack it, and all of them by default, are each a group of their own, with all their windows.
        kinds: of probes; the first ones are quick, "neural" takes some minutes.
        seed: of the folds and of the neural probe.
        on_step: told of every layer and fold.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidInput: if fewer than five groups have features and targets.
    """
    require_collection(ws, collection)
    keys, data = _gather(ws, collection, encoder, group_by)
    config = {
        "fingerprint": encoder.feature_fingerprint,
        "targets": FINGERPRINT,
        "group_by": group_by,
        "kinds": list(kinds),
        "folds": FOLDS,
    }
    model = f"{encoder.card.name}@{encoder.card.version}"
    digest = _digest(keys, data)
    run = start_run(
        ws, RUN_KIND, collection=collection, model=model, config=config, seed=seed, data_digest=digest
    )
    scores = {kind: probe(data, kind, seed=seed, on_step=on_step) for kind in kinds}
    mapped = scores.get(MAPPED_BY) or next(iter(scores.values()))
    report = ProbeReport(
        collection=collection,
        model=model,
        group_by=group_by,
        segments=len(keys),
        groups=len(np.unique(data.groups)),
        layers=data.features.shape[1],
        width=data.features.shape[2],
        targets=TARGET_NAMES,
        means=data.targets.mean(axis=0, dtype=np.float64),
        deviations=data.targets.std(axis=0, dtype=np.float64),
        scores=scores,
        baseline=mean_baseline(data, seed=seed),
        aspects=layer_weights(mapped.r2),
        run=run,
    )
    body = report.to_json()
    metrics = {f"{name}.R2": told[report.mapped_by]["best_r2"] for name, told in body["targets"].items()}
    finish_run(ws, run, metrics=metrics, artifacts=body)
    return report


def _gather(ws: Workspace, collection: str, encoder: LayeredEncoder, group_by: str) -> tuple[Keys, ProbeData]:
    """Read what has both features and targets, by ascending key."""
    measured = targets_of(ws, collection)
    keys: list[int] = []
    parts = [np.empty((0, *encoder.feature_shape), np.float32)]
    for found, features in read_features(ws, collection, encoder.feature_fingerprint):
        there = [place for place, key in enumerate(found.tolist()) if key in measured]
        keys += found[there].tolist()
        parts.append(features[there])
    if not keys:
        raise InvalidInput("no sound of the collection has both features and proxy targets")
    targets = np.stack([measured[key] for key in keys])
    return np.array(keys), ProbeData(np.concatenate(parts), targets, _groups(ws, keys, group_by))


def _groups(ws: Workspace, keys: Sequence[int], group_by: str) -> Rows:
    """Number the groups of segments: by an attribute of their items, else by item."""
    rows = ws.fetch(
        "SELECT segments.rowid, items.rowid,"
        " (SELECT entry.value FROM json_each(items.attributes) AS entry WHERE entry.key = ?)"
        " FROM json_each(?) AS wanted CROSS JOIN segments ON segments.rowid = wanted.value"
        " CROSS JOIN items ON items.rowid = segments.item",
        (group_by, as_json(keys)),
    )
    names = {
        key: f"item {item}" if not group_by or value is None else f"value {value}"
        for key, item, value in rows
    }
    return number_groups([names[key] for key in keys])


def _digest(keys: Keys, data: ProbeData) -> str:
    digest = hashlib.sha256(keys.astype("<i8").tobytes())
    for part in (data.features, data.targets, data.groups):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
