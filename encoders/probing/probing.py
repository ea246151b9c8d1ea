"""Probing a collection: from stored features and proxy targets to a run that tells which layer knows what."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from encoders.card import EncoderCard
from encoders.encoder import LayeredEncoder
from encoders.probing.aspects import aspect_layers, fit_readouts, known_aspects
from encoders.probing.closeness import Closeness, closeness
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
from encoders.probing.report import MAPPED_BY, ProbeReport
from encoders.probing.saving import save_aspects, store_readings
from encoders.probing.targets import FINGERPRINT, TARGET_NAMES
from retrieval.collections import require_collection
from retrieval.errors import InvalidInput
from retrieval.features import read_features
from retrieval.index import Keys
from retrieval.registry import finish_run, start_run
from retrieval.segments import as_json
from retrieval.workspace import Workspace

RUN_KIND = "probe"


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

    What reads aspects is registered as the model COLLECTION-aspects: searches use its newest version.

    Args:
        ws: the workspace.
        collection: its name.
        encoder: whose features are probed; they and the targets are there already.
        group_by: the attribute whose equal values are never parted by a fold, such as "work"; items that
            lack it, and all of them by default, are each a group of their own, with all their windows.
        kinds: of probes; "tuned" is always one of them. "neural" takes some minutes, the others seconds.
        seed: of the folds and of the neural probe.
        on_step: told of every layer and fold.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidInput: if fewer than five groups have features and targets.
    """
    require_collection(ws, collection)
    keys, data = _gather(ws, collection, encoder, group_by)
    model = f"{encoder.card.name}@{encoder.card.version}"
    config = {"features": model, "targets": FINGERPRINT, "group_by": group_by, "folds": FOLDS}
    digest = _digest(keys, data)
    run = start_run(
        ws, RUN_KIND, collection=collection, model=model, config=config, seed=seed, data_digest=digest
    )
    wanted = [MAPPED_BY, *(kind for kind in kinds if kind != MAPPED_BY)]
    scores = {kind: probe(data, kind, seed=seed, on_step=on_step) for kind in wanted}
    mapped = scores[MAPPED_BY]
    reader = save_aspects(
        ws,
        collection,
        encoder,
        fit_readouts(data, mapped, seed=seed),
        known_aspects(mapped),
        metrics=_metrics(mapped),
        training=config | {"seed": seed, "run": run},
        data_digest=digest,
    )
    store_readings(ws, reader, keys, data.features)
    report = _report(
        collection,
        model,
        group_by,
        data,
        scores,
        seed=seed,
        run=run,
        reader=reader.card,
        found=closeness(data, mapped, encoder.fuse(data.features)),
    )
    finish_run(ws, run, metrics=reader.card.metrics, artifacts=report.to_json(), model=model)
    return report


def _metrics(scores: ProbeScores) -> dict[str, float]:
    """Return the best layer's R2 of each target that varies."""
    return {
        f"{name}.R2": float(scores.r2[layer, place])
        for place, (name, layer) in enumerate(zip(TARGET_NAMES, best_layers(scores.r2), strict=True))
        if layer is not None
    }


def _report(
    collection: str,
    model: str,
    group_by: str,
    data: ProbeData,
    scores: Mapping[ProbeKind, ProbeScores],
    *,
    seed: int,
    run: int,
    reader: EncoderCard,
    found: Mapping[str, Mapping[str, Closeness]],
) -> ProbeReport:
    return ProbeReport(
        collection=collection,
        model=model,
        group_by=group_by,
        segments=len(data.groups),
        groups=len(np.unique(data.groups)),
        layers=data.features.shape[1],
        width=data.features.shape[2],
        targets=TARGET_NAMES,
        means=data.targets.mean(axis=0, dtype=np.float64),
        deviations=data.targets.std(axis=0, dtype=np.float64),
        scores=scores,
        baseline=mean_baseline(data, seed=seed),
        aspects=aspect_layers(scores[MAPPED_BY]),
        closeness=found,
        run=run,
        reader=f"{reader.name}@{reader.version}",
    )


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
