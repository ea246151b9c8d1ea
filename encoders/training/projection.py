"""Training a projection from a collection's pairs of media and captions: read, fit, compare, save."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.memory import encode_within_memory
from encoders.projection.encoder import media_encoder, save_projection
from encoders.training.checkpoint import CheckpointFile
from encoders.training.cross_modal import CrossModalRanks
from encoders.training.events import OnEvent, StageStarted, StepDone, ignore
from encoders.training.pairs import PARTS, Floats, Pairs, PairSource, deal_parts, read_pairs
from encoders.training.projection_config import ProjectionConfig
from encoders.training.projection_fit import ProjectionTraining, closed_form, fit, ridge_baseline
from encoders.training.registering import (
    as_json,
    begin_training,
    check_name,
    digest_of,
    finish_training,
    training_file,
)
from retrieval.content import Content, Modality
from retrieval.errors import InvalidInput
from retrieval.jobs import Job
from retrieval.registry import model_folder
from retrieval.workspace import Workspace

PARTS_FILE = "parts.json"
TRAINED = "projection"
_ENCODED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen encoder and its model folder, which is copied into the new model's."""

    encoder: Encoder
    folder: Path

    @property
    def reference(self) -> str:
        """Its name and version."""
        return f"{self.encoder.card.name}@{self.encoder.card.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionReport:
    """A trained projection, and how it does on held-out pairs beside what is simpler."""

    card: EncoderCard
    systems: Mapping[str, CrossModalRanks]  # "ridge", "closed form", `TRAINED`
    chance: Mapping[str, float]
    counts: Mapping[str, int]  # pairs by part, "groups", and "without caption"


def train_projection(
    ws: Workspace,
    collection: str,
    config: ProjectionConfig,
    source: PairSource,
    *,
    name: str,
    media: Backbone,
    text: Backbone,
    on_progress: OnEvent = ignore,
) -> ProjectionReport:
    """Train projections of two frozen backbones and register the encoder as `name@version`.

    The vectors of the media are read from the workspace: encode the collection by the media backbone before.
    Killed at any moment, the same call goes on from the last checkpoint and ends with the same weights.

    Args:
        ws: the workspace.
        collection: whose pairs are learned from.
        config: how.
        source: which items are pairs.
        name: of the model; its version is the next free number.
        media: the backbone of the media.
        text: the backbone of the captions.
        on_progress: told of stages, steps and epochs, in this thread.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidTrainingData: if there are too few pairs.
        IncompatibleModel: if the media backbone does not take such media.
        InvalidInput: if the text backbone takes no texts, or the name cannot be one.
        EncoderFault: if the training diverged.
        Conflict: if another process is at the same training.
    """
    check_name(name)
    media_encoder(media.encoder, source.modality)
    if Modality.TEXT not in text.encoder.card.modalities:
        raise InvalidInput(f"text encoder: {text.reference} takes no texts", field="text_encoder")
    on_progress(StageStarted(stage="read"))
    pairs = read_pairs(ws, collection, media.encoder.card.fingerprint, source)
    parts = deal_parts(
        pairs.groups,
        pairs.group_names,
        test=config.test,
        validation=config.validation,
        seed=config.split_seed,
    )
    record = {
        **config.record(),
        **asdict(source),
        "media_encoder": media.reference,
        "text_encoder": text.reference,
    }
    fingerprints = [each.encoder.card.fingerprint for each in (media, text)]
    digest = digest_of(record, pairs.digest, fingerprints)
    work = ws.models / name / f".work-{digest[:16]}"
    job = begin_training(
        ws, collection, name, digest, config=record, seed=config.seed, data_digest=pairs.digest
    )
    texts = caption_vectors(ws, pairs.captions, text.encoder, on_progress)
    training = ProjectionTraining(pairs, texts, parts, config, work, on_progress)
    return _finish(ws, name, job, training, record, source, media, text)


def caption_vectors(
    ws: Workspace,
    captions: Sequence[str],
    encoder: Encoder,
    on_progress: OnEvent = ignore,
    *,
    side: Literal["query", "item"] = "query",
) -> Floats:
    """Encode captions, by default as queries, as they will be asked; once, however often one trains.

    Returns:
        Unit rows, shape (captions, dims).
    """
    told = hashlib.sha256(f"{side} {encoder.card.fingerprint}".encode())
    encode = encoder.encode_queries if side == "query" else encoder.encode_items
    for caption in captions:
        told.update(f"{len(caption)}:{caption}".encode())
    file = CheckpointFile(ws.models / ".captions" / f"{told.hexdigest()[:24]}.pt")
    state = file.read()
    if state is not None:
        return np.asarray(state["vectors"].numpy())
    on_progress(StageStarted(stage="captions", detail=f"{len(captions)} of them"))
    rows = []
    for start in range(0, len(captions), _ENCODED_AT_ONCE):
        contents = [Content(text=caption) for caption in captions[start : start + _ENCODED_AT_ONCE]]
        rows.append(encode_within_memory(encode, contents))
        done = start + len(contents)
        on_progress(StepDone(stage="captions", step=done, steps=len(captions), loss=0.0, learning_rate=0.0))
    vectors = np.concatenate(rows)
    file.write({"vectors": torch.from_numpy(vectors)})
    return vectors


def _finish(
    ws: Workspace,
    name: str,
    job: Job,
    training: ProjectionTraining,
    record: Mapping[str, Any],
    source: PairSource,
    media: Backbone,
    text: Backbone,
) -> ProjectionReport:
    fitted = fit(training)
    training.on_progress(StageStarted(stage="save"))
    systems = {
        "ridge": ridge_baseline(training),
        "closed form": closed_form(training),
        TRAINED: fitted.ranks(training, "test"),  # in numpy, as it will be served
    }
    level = training.chance("test")
    metrics = card_metrics(systems, level)
    version, ids = job.position["version"], _ids_by_part(training.pairs, training.parts)
    card = save_projection(
        model_folder(ws, name, version),
        fitted.shape,
        fitted.tensors,
        source.modality,
        (media.encoder.card, media.folder),
        (text.encoder.card, text.folder),
        beside={
            **training_file(
                record, training.pairs.digest, metrics, stages=training.curves, chosen=training.chosen
            ),
            PARTS_FILE: as_json(ids),
        },
        name=name,
        version=version,
        training_data_digest=training.pairs.digest,
        training={**record, "chosen": training.chosen},
        metrics=metrics,
    )
    counts = {part: len(training.parts[part]) for part in PARTS}
    counts |= {"groups": len(training.pairs.group_names), "without caption": training.pairs.without_caption}
    artifacts = {"curves": training.curves, "chosen": training.chosen, "pairs": counts, "test": ids["test"]}
    finish_training(ws, job, card, artifacts=artifacts)
    shutil.rmtree(training.work, ignore_errors=True)
    return ProjectionReport(card=card, systems=systems, chance=level, counts=counts)


def card_metrics(systems: Mapping[str, CrossModalRanks], level: Mapping[str, float]) -> dict[str, float]:
    """Return what the card tells: of the projection with its interval, and of what it stands beside."""
    metrics: dict[str, float] = {}
    for name, value in systems[TRAINED].means().items():
        low, high = systems[TRAINED].intervals()[name]
        metrics |= {f"test.{name}": value, f"test.{name}.low": low, f"test.{name}.high": high}
    for system, ranks in systems.items():
        if system != TRAINED:
            told = system.replace(" ", "_")
            metrics |= {f"{told}.test.{name}": value for name, value in ranks.means().items()}
    metrics |= {f"chance.test.{name}": value for name, value in level.items()}
    return {name: round(value, 6) for name, value in metrics.items()}


def _ids_by_part(pairs: Pairs, parts: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: [pairs.ids[row] for row in rows] for name, rows in parts.items()}
