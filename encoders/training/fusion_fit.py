"""Fitting layer fusions: on the folds that are not held out, watched on another one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.layer_fusion.network import FusionNetwork
from encoders.training.checkpoint import CheckpointFile
from encoders.training.events import OnEvent, StageStarted
from encoders.training.fusion_config import LayerFusionConfig
from encoders.training.fusion_data import FusionData
from encoders.training.fusion_objective import FusionBatches, FusionObjective
from encoders.training.loop import train
from encoders.training.relations import Rows
from encoders.training.similarity import Ranked, pooled, rank
from retrieval.errors import InvalidTrainingData

FUSED = "fused"
AVERAGE = "average of layers"
STANDARDISED = "average, standardised"


@dataclass(frozen=True, slots=True)
class FusionTraining:
    """What the stages of one training share."""

    data: FusionData
    config: LayerFusionConfig
    folds: Rows  # of each item
    work: Path
    on_progress: OnEvent

    def batches(self, learned: Rows, network: FusionNetwork) -> FusionBatches:
        """Make batches of some items, whose mined negatives follow the network."""
        data, config = self.data, self.config
        return FusionBatches(
            data.features,
            learned,
            data.relations,
            data.groups,
            config.batch_size,
            config.mined,
            config.seed,
            network.encode,
        )

    def objective(self, network: FusionNetwork) -> FusionObjective:
        """Put the loss to a network."""
        return FusionObjective(
            network,
            loss=self.config.loss,
            margin=self.config.margin,
            temperature=self.config.temperature,
            dropout=self.config.dropout,
        )

    def rank(self, vectors: NDArray[np.float32], items: Rows) -> Ranked:
        """Let items look for those that belong to them."""
        return rank(vectors, items, self.data.relations, self.data.groups)


def compare(training: FusionTraining) -> tuple[dict[str, Ranked], dict[str, Any]]:
    """Rank the held-out items of every fold by each system."""
    data, folds = training.data, training.config.folds
    layers = data.features.shape[1]
    parts: dict[str, list[Ranked]] = {}
    curves = {}
    for fold in range(folds):
        stage = f"fold {fold + 1} of {folds}"
        network, curves[stage] = fit(training, stage, held_out=fold, stopping=(fold + 1) % folds)
        test = np.flatnonzero(training.folds == fold)
        features = data.features[test]
        mean, scale = network.mean.numpy(), network.scale.numpy()
        vectors = {_layer_name(layer, layers): features[:, layer] for layer in range(layers)}
        vectors[AVERAGE] = features.mean(axis=1)
        vectors[STANDARDISED] = ((features - mean) / scale).mean(axis=1)
        vectors[FUSED] = network.encode(features)
        for system, rows in vectors.items():
            directions = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            parts.setdefault(system, []).append(training.rank(directions, test))
    systems = {system: pooled(ranked) for system, ranked in parts.items()}
    if not len(systems[FUSED].queries):
        raise InvalidTrainingData("in no fold do two groups belong together: fewer folds, or other labels")
    return systems, curves


def _layer_name(layer: int, layers: int) -> str:
    return f"layer {layer}" + (" (last)" if layer == layers - 1 else "")


def fit(
    training: FusionTraining, stage: str, *, held_out: int | None, stopping: int
) -> tuple[FusionNetwork, list[dict[str, Any]]]:
    """Train on all folds but the one that is held out and the one that tells when to stop."""
    data, config = training.data, training.config
    learned = np.flatnonzero(~np.isin(training.folds, [stopping, -1 if held_out is None else held_out]))
    watched = np.flatnonzero(training.folds == stopping)
    torch.manual_seed(config.seed)
    network = FusionNetwork(config.shape(*data.features.shape[1:]), data.features[learned])
    batches = training.batches(learned, network)
    if batches.steps_per_epoch == 0:
        raise InvalidTrainingData(f"{stage}: nothing to learn from: no two groups of it belong together")
    training.on_progress(StageStarted(stage=stage))
    progress = train(
        training.objective(network),
        batches,
        config.stage(stage),
        training.on_progress,
        measure=lambda: training.rank(network.encode(data.features[watched]), watched).means(),
        checkpoint=CheckpointFile(training.work / f"{stage.replace(' ', '-')}.pt"),
    )
    return network, progress.history
