"""Training a modality fusion: read, fit, compare with each part alone, save."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from encoders.card import EncoderCard
from encoders.modality_fusion.architecture import ModalityFusionShape
from encoders.modality_fusion.encoder import save_modality_fusion
from encoders.modality_fusion.fusing import ModalityFusion
from encoders.modality_fusion.network import ModalityFusionNetwork
from encoders.projection.encoder import media_encoder
from encoders.training.events import OnEvent, StageStarted, ignore
from encoders.training.modality_config import ModalityFusionConfig
from encoders.training.modality_data import Aim, FusionItems, ModalityData, read_modality_data
from encoders.training.modality_fit import ModalityTraining, fit, rank_task, side_by_side
from encoders.training.projection import Backbone
from encoders.training.registering import (
    begin_training,
    check_name,
    digest_of,
    finish_training,
    training_file,
)
from encoders.training.similarity import METRICS, Ranked
from retrieval.content import Modality
from retrieval.errors import InvalidInput
from retrieval.jobs import Job
from retrieval.registry import model_folder
from retrieval.resampling import bootstrap_interval
from retrieval.workspace import Workspace

FUSED = "fused"
UNTRAINED = "side by side, untrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityFusionReport:
    """A trained modality fusion, and how it does on held-out queries beside what is simpler."""

    card: EncoderCard
    systems: Mapping[str, Ranked]  # each part alone, `UNTRAINED`, the fusion with one part only, `FUSED`
    intervals: Mapping[str, tuple[tuple[float, float], ...]]  # 95 %, by system, in the order of METRICS
    counts: Mapping[str, int]


def train_modality_fusion(
    ws: Workspace,
    collection: str,
    config: ModalityFusionConfig,
    aim: Aim,
    *,
    name: str,
    parts: Mapping[Modality, Backbone],
    on_progress: OnEvent = ignore,
) -> ModalityFusionReport:
    """Train how the modalities of an item become one vector, and register the encoder as `name@version`.

    The vectors of the media are read from the workspace: encode the collection by each part before. Killed at
    any moment, the same call goes on from the last checkpoint and ends with the same weights.

    Args:
        ws: the workspace.
        collection: what is learned from.
        config: how.
        aim: what is to find what.
        name: of the model; its version is the next free number.
        parts: by modality, the frozen encoder.
        on_progress: told of stages, steps and epochs, in this thread.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidTrainingData: if there is nothing to learn from.
        IncompatibleModel: if a part's encoder does not take its modality.
        InvalidInput: if a setting is out of range, or the name cannot be one.
        EncoderFault: if the training diverged.
        Conflict: if another process is at the same training.
    """
    check_name(name)
    _check_parts(parts)
    on_progress(StageStarted(stage="read"))
    data = read_modality_data(
        ws, collection, parts, aim, test=config.test, validation=config.validation, seed=config.split_seed
    )
    record = {
        **config.record(),
        **asdict(aim),
        "parts": {modality.value: part.reference for modality, part in parts.items()},
    }
    shape = ModalityFusionShape(
        parts=tuple((modality, part.encoder.card.dims) for modality, part in parts.items()),
        dims=config.dims,
        strategy=config.strategy,
        gate_hidden=config.gate_hidden,
    )
    fingerprints = [part.encoder.card.fingerprint for part in parts.values()]
    digest = digest_of(record, data.digest, fingerprints)
    job = begin_training(
        ws, collection, name, digest, config=record, seed=config.seed, data_digest=data.digest
    )
    training = ModalityTraining(data, shape, config, ws.models / name / f".work-{digest[:16]}", on_progress)
    network = fit(training)
    on_progress(StageStarted(stage="save"))
    return _finish(ws, name, job, training, network, record, parts)


def _check_parts(parts: Mapping[Modality, Backbone]) -> None:
    for modality, part in parts.items():
        if modality is not Modality.TEXT:
            media_encoder(part.encoder, modality)
        elif Modality.TEXT not in part.encoder.card.modalities:
            raise InvalidInput(f"part text: {part.reference} takes no texts", field="parts")


def compare(data: ModalityData, fusion: ModalityFusion) -> dict[str, Ranked]:
    """Rank the test queries by each part alone, by the parts untrained, and by the fusion."""
    task = data.tasks["test"]
    everything = np.arange(len(data.modalities))
    systems = {}
    for part, modality in enumerate(data.modalities):
        if data.queries is None or modality is Modality.TEXT:
            own = np.array([part])
            systems[f"{modality} alone"] = rank_task(
                side_by_side(task.queries, own), side_by_side(task.items, own), task
            )
    if data.queries is None:
        systems[UNTRAINED] = rank_task(
            side_by_side(task.queries, everything), side_by_side(task.items, everything), task
        )
    for part, modality in enumerate(data.modalities):
        queries = task.queries.only(part) if data.queries is None else task.queries
        systems[f"fused, {modality} only"] = rank_task(
            _fused(fusion, queries), _fused(fusion, task.items.only(part)), task
        )
    systems[FUSED] = rank_task(_fused(fusion, task.queries), _fused(fusion, task.items), task)
    return systems


def _fused(fusion: ModalityFusion, items: FusionItems) -> Any:
    """Fuse in numpy, as it will be served."""
    return fusion(items.vectors, items.present)


def _finish(
    ws: Workspace,
    name: str,
    job: Job,
    training: ModalityTraining,
    network: ModalityFusionNetwork,
    record: Mapping[str, Any],
    parts: Mapping[Modality, Backbone],
) -> ModalityFusionReport:
    tensors = network.tensors()
    systems = compare(training.data, ModalityFusion(training.shape, tensors))
    intervals = {
        system: tuple((low, high) for low, high in bootstrap_interval(ranked.values).T.tolist())
        for system, ranked in systems.items()
    }
    metrics = _metrics(systems, intervals)
    version = job.position["version"]
    card = save_modality_fusion(
        model_folder(ws, name, version),
        training.shape,
        tensors,
        {modality: (part.encoder.card, part.folder) for modality, part in parts.items()},
        beside=training_file(record, training.data.digest, metrics, stages=training.curves),
        name=name,
        version=version,
        training_data_digest=training.data.digest,
        training=record,
        metrics=metrics,
    )
    artifacts = {"curves": training.curves, "counts": dict(training.data.counts)}
    finish_training(ws, job, card, artifacts=artifacts)
    shutil.rmtree(training.work, ignore_errors=True)
    return ModalityFusionReport(card=card, systems=systems, intervals=intervals, counts=training.data.counts)


def _metrics(
    systems: Mapping[str, Ranked], intervals: Mapping[str, tuple[tuple[float, float], ...]]
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for system, ranked in systems.items():
        for metric, value in ranked.means().items():
            metrics[f"{'test' if system == FUSED else system}.{metric}"] = value
    for metric, (low, high) in zip(METRICS, intervals[FUSED], strict=True):
        metrics |= {f"test.{metric}.low": low, f"test.{metric}.high": high}
    metrics |= {f"chance.{metric}": value for metric, value in systems[FUSED].chances().items()}
    return {name: round(value, 6) for name, value in metrics.items()}
