"""Training a layer fusion: cross-validated by group beside what needs no training, then kept."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.encoder import LayeredEncoder
from encoders.layer_fusion.encoder import save_layer_fusion
from encoders.layer_fusion.fusing import Fusion
from encoders.layer_fusion.network import FusionNetwork
from encoders.training.belonging import Belonging, deal_folds
from encoders.training.events import OnEvent, StageStarted, ignore
from encoders.training.fusion_config import LayerFusionConfig
from encoders.training.fusion_data import read_fusion_data
from encoders.training.fusion_fit import FUSED, FusionTraining, compare, fit
from encoders.training.registering import (
    begin_training,
    check_name,
    digest_of,
    finish_training,
    training_file,
)
from encoders.training.relations import Rows
from encoders.training.similarity import Ranked
from retrieval.errors import IncompatibleModel
from retrieval.jobs import Job
from retrieval.registry import model_folder
from retrieval.workspace import Workspace

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFusionReport:
    """A trained layer fusion, and how it does beside what needs no training."""

    card: EncoderCard
    systems: Mapping[str, Ranked]  # on held-out items, each held out once; `FUSED` is the last
    weights: Floats  # (layers,): the mean share of each layer over the items
    weight_deviations: Floats  # (layers,): over the items
    items: int
    groups: int
    singletons: int  # items without anything that belongs to them: neither learned from nor asked for
    query_groups: Rows  # the group of each query, in the order of the systems' rows

    @property
    def best_layer(self) -> str:
        """The single layer with the highest mean reciprocal rank, picked by these very queries."""
        single = [name for name in self.systems if name.startswith("layer ")]
        return max(single, key=lambda name: self.systems[name].means()["MRR"])


def train_layer_fusion(
    ws: Workspace,
    collection: str,
    config: LayerFusionConfig,
    belonging: Belonging,
    *,
    name: str,
    backbone: LayeredEncoder,
    backbone_folder: Path,
    on_progress: OnEvent = ignore,
) -> LayerFusionReport:
    """Train a fusion of a frozen model's layers on its stored features, and register it as `name@version`.

    Every group is held out once: trained on the others, the fusion ranks its items, as do each layer and
    the average of layers. Then one is trained on all but the fold that tells when to stop, and kept. Killed
    at any moment, the same call goes on from the last checkpoint.

    Args:
        ws: the workspace.
        collection: whose features and attributes are read.
        config: how.
        belonging: which items belong together.
        name: of the model; its version is the next free number.
        backbone: the frozen model.
        backbone_folder: its folder, which is copied into the new model's.
        on_progress: told of stages, steps and epochs, in this thread.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidTrainingData: if there are no features, or nothing to learn from.
        IncompatibleModel: if the stored features are not of the model's shape.
        EncoderFault: if the training diverged.
        Conflict: if another process is at the same training.
    """
    check_name(name)
    on_progress(StageStarted(stage="read"))
    data = read_fusion_data(ws, collection, backbone.feature_fingerprint, belonging)
    _check_shape(data.features, backbone)
    record = _record(config, belonging, backbone)
    digest = digest_of(record, data.digest, backbone.card.fingerprint)
    folds = deal_folds(data, config.folds, config.seed)
    training = FusionTraining(data, config, folds, ws.models / name / f".work-{digest[:16]}", on_progress)
    job = begin_training(
        ws, collection, name, digest, config=record, seed=config.seed, data_digest=data.digest
    )
    systems, curves = compare(training)
    network, curves["final"] = fit(training, "final", held_out=None, stopping=0)
    on_progress(StageStarted(stage="save"))
    card = _save(ws, name, training, job, network, backbone, backbone_folder, _Told(record, curves, systems))
    weights = Fusion(network.shape, network.tensors()).layer_weights(data.features)
    return LayerFusionReport(
        card=card,
        systems=systems,
        weights=weights.mean(axis=0),
        weight_deviations=weights.std(axis=0),
        items=len(data.ids),
        groups=len(data.unit_names),
        singletons=len(data.singletons),
        query_groups=data.units[systems[FUSED].queries],
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What is told of a training beside its weights."""

    record: Mapping[str, Any]
    curves: Mapping[str, Any]
    systems: Mapping[str, Ranked]

    def metrics(self) -> dict[str, float]:
        """Return those of the card: of the fusion and of what it is compared with, on held-out groups."""
        return {
            f"{'test' if system == FUSED else system}.{metric}": value
            for system, ranked in self.systems.items()
            for metric, value in ranked.means().items()
        }


def _check_shape(features: Floats, backbone: LayeredEncoder) -> None:
    if features.shape[1:] != backbone.feature_shape:
        raise IncompatibleModel(
            f"stored features have the shape {features.shape[1:]}, the model's {backbone.feature_shape}"
        )


def _record(config: LayerFusionConfig, belonging: Belonging, backbone: LayeredEncoder) -> dict[str, Any]:
    return (
        config.record() | belonging.record() | {"backbone": f"{backbone.card.name}@{backbone.card.version}"}
    )


def _save(
    ws: Workspace,
    name: str,
    training: FusionTraining,
    job: Job,
    network: FusionNetwork,
    backbone: LayeredEncoder,
    backbone_folder: Path,
    told: _Told,
) -> EncoderCard:
    version, data = job.position["version"], training.data
    folds = {
        unit: int(training.folds[data.units == number][0]) for number, unit in enumerate(data.unit_names)
    }
    card = save_layer_fusion(
        model_folder(ws, name, version),
        network.shape,
        network.tensors(),
        backbone,
        backbone_folder,
        beside=training_file(told.record, data.digest, told.metrics(), folds=folds, stages=told.curves),
        name=name,
        version=version,
        training_data_digest=data.digest,
        training=told.record,
        metrics=told.metrics(),
    )
    finish_training(ws, job, card, artifacts={"curves": told.curves})
    shutil.rmtree(training.work, ignore_errors=True)
    return card
