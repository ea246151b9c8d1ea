"""Fine-tuning an audio model (MERT, HuBERT, wav2vec2, Whisper) on the sounds of a collection.

The model that comes out has other weights, so another fingerprint: its features are extracted anew.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.artifacts import write_model
from encoders.audio.description import KIND
from encoders.audio.frozen import FrozenModel
from encoders.audio.opening import open_frozen
from encoders.audio.pooling import pooled_layers
from encoders.card import EncoderCard, read_card
from encoders.fields import check_above_zero, check_at_least, check_choice
from encoders.media.specs import AudioSpec
from encoders.pretrained.weights import PARTED, SINGLE, to_safetensors
from encoders.training.audio_objective import AudioObjective, FinetuningLoss, WindowBatches, pooled_vectors
from encoders.training.audio_sounds import Sounds, read_sounds
from encoders.training.belonging import Belonging, Related, deal_folds, items_by_rowid, relate
from encoders.training.checkpoint import CheckpointFile
from encoders.training.events import OnEvent, StageStarted, ignore
from encoders.training.loop import train
from encoders.training.optimisation import LoopConfig
from encoders.training.registering import (
    begin_training,
    check_name,
    digest_of,
    finish_training,
    training_file,
)
from encoders.training.relations import LabelRelations, Rows
from encoders.training.similarity import rank
from retrieval.errors import IncompatibleModel, InvalidInput, InvalidTrainingData
from retrieval.jobs import Job
from retrieval.registry import model_folder
from retrieval.workspace import Workspace

Keep: TypeAlias = Literal["best", "last"]

WATCHED = "MRR"
STAGE = "finetune"
MEASURED_WINDOWS = 3  # of each held-out sound, evenly spread

_LOWEST: Mapping[str, float] = {
    "epochs": 1,
    "batch_size": 2,
    "trained_blocks": 0,
    "weight_decay": 0,
    "patience": 0,
    "folds": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningConfig:
    """How to fine-tune an audio model."""

    loss: FinetuningLoss = "contrastive"
    epochs: int = 3
    learning_rate: float = 1e-5
    head_rate: float = 100.0  # the head starts from nothing, so it learns faster by so much
    batch_size: int = 16  # sounds of a step
    window_s: float = 5.0  # of each, drawn anew every time; at most what the model hears at a time
    trained_blocks: int = 0  # transformer blocks that learn, from the last one; 0 = all
    temperature: float = 0.1  # of contrastive
    weight_decay: float = 0.01
    patience: int = 0
    keep: Keep = "best"  # which epoch's weights; the untouched ones are a candidate for best
    folds: int = 5  # one is held out to test, one tells which epoch is best
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        check_choice(self, loss=FinetuningLoss, keep=Keep)
        check_at_least(self, _LOWEST)
        check_above_zero(self, "learning_rate", "head_rate", "temperature")
        if not 0.1 <= self.window_s <= 60:
            raise InvalidInput(f"window_s: expected 0.1 to 60, got {self.window_s}", field="window_s")

    def stage(self) -> LoopConfig:
        """Return how the training runs."""
        return LoopConfig(
            stage=STAGE,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
            watched=WATCHED,
            betas=(0.9, 0.999),
        )


@dataclass(frozen=True, slots=True)
class _Tuning:
    """What one fine-tuning works on."""

    config: FinetuningConfig
    model: FrozenModel
    layers: list[int]
    sounds: Sounds
    related: Related
    folds: Rows
    length: int  # of a window, in samples

    def measure(self, fold: int) -> dict[str, float]:
        """Rank the sounds of a fold by each other."""
        items = np.flatnonzero(self.folds == fold)
        parts: NDArray[np.float32] = np.zeros((len(items), 1), np.float32)
        for place in np.linspace(0, 1, MEASURED_WINDOWS):
            windows = [self.sounds.window(item, self.length, float(place)) for item in items.tolist()]
            parts = parts + pooled_vectors(self.model, self.layers, windows, self.config.batch_size)
        vectors = parts / np.maximum(np.linalg.norm(parts, axis=1, keepdims=True), 1e-12)
        return rank(vectors, items, self.related.relations, self.related.groups).means()


def finetune_audio(
    ws: Workspace,
    collection: str,
    config: FinetuningConfig,
    belonging: Belonging,
    *,
    name: str,
    backbone_folder: Path,
    on_progress: OnEvent = ignore,
) -> EncoderCard:
    """Fine-tune an audio model, and register it as `name@version`, of the same kind as the one it was.

    Killed at any moment, the same call goes on from the last checkpoint.

    Args:
        ws: the workspace.
        collection: whose sounds are decoded.
        config: how.
        belonging: which of them belong together.
        name: of the model; its version is the next free number.
        backbone_folder: of a model of kind `audio_layers`.
        on_progress: told of stages, steps and epochs, in this thread.

    Returns:
        The card. Its metrics are those of the held-out groups, before (`zero_shot.`) and after (`test.`).

    Raises:
        CollectionNotFound: if there is no such collection.
        IncompatibleModel: if the model is of another kind.
        InvalidTrainingData: if there is nothing to learn from.
        EncoderFault: if the training diverged.
        Conflict: if another process is at the same training.
    """
    check_name(name)
    source = read_card(backbone_folder)
    if source.kind != KIND:
        raise IncompatibleModel(f"model {source.name}@{source.version} is a {source.kind}, expected {KIND}")
    on_progress(StageStarted(stage="read"))
    tuning = _prepared(ws, collection, config, belonging, source, backbone_folder)
    record = asdict(config) | belonging.record() | {"backbone": f"{source.name}@{source.version}"}
    digest = digest_of(record, tuning.related.digest, source.fingerprint)
    work = ws.models / name / f".work-{digest[:16]}"
    job = begin_training(
        ws, collection, name, digest, config=record, seed=config.seed, data_digest=tuning.related.digest
    )
    before = tuning.measure(fold=0)
    history = _fit(tuning, work, on_progress)
    on_progress(StageStarted(stage="save"))
    metrics = {f"zero_shot.{metric}": value for metric, value in before.items()}
    metrics |= {f"test.{metric}": value for metric, value in tuning.measure(fold=0).items()}
    card = _save(ws, name, job, tuning, source, backbone_folder, record, metrics)
    finish_training(ws, job, card, artifacts={"curves": {STAGE: history}})
    shutil.rmtree(work, ignore_errors=True)
    return card


def _prepared(
    ws: Workspace,
    collection: str,
    config: FinetuningConfig,
    belonging: Belonging,
    source: EncoderCard,
    folder: Path,
) -> _Tuning:
    told = source.preprocessing
    items = list(items_by_rowid(ws, collection).values())
    kept, sounds = read_sounds(ws, items, AudioSpec(sample_rate=told["sample_rate"]))
    related = relate(ws, collection, kept, belonging)
    if config.loss == "classification" and not isinstance(related.relations, LabelRelations):
        raise InvalidTrainingData("pairs are no classes: train with --loss contrastive, or by labels")
    torch.manual_seed(config.seed)
    finely = replace(source, preprocessing={**told, "precision": "float32"})
    return _Tuning(
        config,
        open_frozen(finely, folder),
        pooled_layers(source.architecture["pooling"], source.architecture["layers"]),
        sounds,
        related,
        deal_folds(related, config.folds, config.seed),
        round(min(config.window_s, told["window_s"]) * told["sample_rate"]),
    )


def _fit(tuning: _Tuning, work: Path, on_progress: OnEvent) -> list[dict[str, Any]]:
    """Train on all folds but the first, which is held out, and the second, which tells the best epoch."""
    config, relations = tuning.config, tuning.related.relations
    learned = np.flatnonzero((tuning.folds > 1) & (relations.labels >= 0))
    batches = WindowBatches(
        tuning.sounds,
        learned,
        relations,
        tuning.related.groups,
        config.batch_size,
        tuning.length,
        config.seed,
    )
    if not batches.steps_per_epoch:
        raise InvalidTrainingData(
            "nothing to learn from: no two groups of the training folds belong together"
        )
    objective = AudioObjective(
        tuning.model,
        tuning.layers,
        loss=config.loss,
        classes=int(relations.labels.max()) + 1,
        temperature=config.temperature,
        trained_blocks=config.trained_blocks,
        head_rate=config.head_rate,
    ).to(tuning.model.module.device)
    on_progress(StageStarted(stage=STAGE))
    progress = train(
        objective,
        batches,
        config.stage(),
        on_progress,
        measure=(lambda: tuning.measure(fold=1)) if config.keep == "best" else None,
        checkpoint=CheckpointFile(work / f"{STAGE}.pt"),
    )
    return progress.history


def _save(
    ws: Workspace,
    name: str,
    job: Job,
    tuning: _Tuning,
    source: EncoderCard,
    source_folder: Path,
    record: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> EncoderCard:
    folder = model_folder(ws, name, job.position["version"])
    kept = [file for file in source.files if file != PARTED and not file.endswith(".safetensors")]
    files: dict[str, bytes | Path] = {file: source_folder / file for file in kept}
    files[SINGLE] = to_safetensors(tuning.model.module.state_dict())
    card = replace(
        source,
        name=name,
        version=job.position["version"],
        files={},
        training_data_digest=tuning.related.digest,
        training=dict(record),
        metrics=dict(metrics),
    )
    return write_model(folder, card, files, beside=training_file(record, tuning.related.digest, metrics))
