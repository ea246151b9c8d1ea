"""Training a two-tower from a collection: read, start from word vectors, train in two stages, save."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.artifacts import write_durably
from encoders.card import EncoderCard
from encoders.training.batches import CorpusBatches, QuestionBatches
from encoders.training.cbow import train_cbow
from encoders.training.checkpoint import CheckpointFile
from encoders.training.config import CORPUS_STEPS_PER_EPOCH, TwoTowerConfig
from encoders.training.corpus import WordCorpus
from encoders.training.data import Question, TrainingData, read_training_data
from encoders.training.distributed import join, rank, share
from encoders.training.events import OnEvent, StageStarted, ignore
from encoders.training.held_out import HeldOut
from encoders.training.initial import Initial, make_initial, start_as_identity
from encoders.training.loop import train
from encoders.training.objective import TwoTowerObjective
from encoders.training.word_vectors import WordVectors
from encoders.two_tower.architecture import KIND, Architecture
from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.saving import save_two_tower
from encoders.two_tower.towers import TwoTower
from encoders.two_tower.vocabulary import Vocabulary
from retrieval.errors import InvalidInput
from retrieval.registry import (
    Job,
    finish_run,
    model_folder,
    next_model_version,
    register_model,
    start_job,
    start_run,
)
from retrieval.workspace import Workspace

CURVES_FILE = "training.json"
RECURRENT_DIMS = 256
_MINED_AT_ONCE = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Neighbours: TypeAlias = Callable[[Sequence[str]], Sequence[Sequence[str]]]
"""Query texts -> for each the ids that the current index finds, best first (some 30)."""


@dataclass(slots=True)
class _Training:
    """What the steps of one training hand on to each other."""

    ws: Workspace
    collection: str
    name: str
    config: TwoTowerConfig
    data: TrainingData
    work: Path  # checkpoints, until the model is registered
    on_progress: OnEvent
    curves: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def train_two_tower(
    ws: Workspace,
    collection: str,
    config: TwoTowerConfig,
    *,
    name: str,
    neighbours: Neighbours | None = None,
    on_progress: OnEvent = ignore,
) -> EncoderCard:
    """Train a two-tower on a collection's texts and judged queries, and register it as `name@version`.

    Killed at any moment, the same call goes on from the last checkpoint and ends with the same weights.
    Under torchrun every process makes this call.

    Args:
        ws: the workspace.
        collection: what to train on.
        config: how.
        name: of the model; its version is the next free number.
        neighbours: finds hard negatives in the current index.
        on_progress: told of stages, steps and epochs, in this thread.

    Returns:
        The card. Its metrics are those of the validation and test queries, before (`zero_shot.`) and after.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidTrainingData: if the data cannot be trained on; before any work began.
        UnreadableSource: if the file of word vectors is not one.
        EncoderFault: if the training diverged.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"model name: expected letters, digits, '.', '_', '-', got {name!r}", field="name")
    join()
    on_progress(StageStarted(stage="read"))
    data = read_training_data(ws, collection, skip_missing=config.skip_missing)
    digest = _digest(config, data, mined=neighbours is not None)
    training = _Training(
        ws, collection, name, config, data, ws.models / name / f".work-{digest[:16]}", on_progress
    )
    if rank() > 0:
        _fit(training, neighbours)
        return EncoderCard.from_json(share(None))
    job = _begin(training, digest)
    vocabulary, towers = _fit(training, neighbours)
    card = _save(training, job, vocabulary, towers)
    share(card.to_json())
    return card


def _digest(config: TwoTowerConfig, data: TrainingData, *, mined: bool) -> str:
    """Identify a training: the same digest, the same weights."""
    digest = hashlib.sha256(json.dumps([config.record(), data.digest, mined], sort_keys=True).encode())
    path = Path(config.init)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def _begin(training: _Training, digest: str) -> Job:
    """Find the interrupted training of this digest, or begin a run and reserve a version."""
    ws = training.ws
    job = start_job(ws, "train", training.collection, {"model": training.name, "digest": digest})
    if job.position is None:
        version = next_model_version(ws, training.name)
        model_folder(ws, training.name, version).mkdir(parents=True)
        run = start_run(
            ws,
            "train",
            collection=training.collection,
            model=f"{training.name}@{version}",
            config=training.config.record(),
            seed=training.config.seed,
            data_digest=training.data.digest,
        )
        job.advance({"version": version, "run": run})
    return job


def _fit(training: _Training, neighbours: Neighbours | None) -> tuple[Vocabulary, TwoTower]:
    config, data = training.config, training.data
    torch.manual_seed(config.seed)
    corpus = WordCorpus.read(data.item_texts, config.max_words)
    training.on_progress(StageStarted(stage="vectors", detail=config.record()["init"]))
    initial = _initial(training, corpus)
    items = corpus.to_rows(initial.vocabulary)
    towers = _make_towers(initial, items, config)
    objective = TwoTowerObjective(
        towers,
        config.loss,
        temperature=config.temperature,
        learn_temperature=config.learn_temperature,
        margin=config.margin,
    )
    validation, test = (
        _held_out(questions, items, initial.vocabulary, config) for questions in (data.validation, data.test)
    )
    training.metrics |= _prefixed("zero_shot.validation", validation.measure(towers))
    training.metrics |= _prefixed("zero_shot.test", test.measure(towers))
    _corpus_stage(training, objective, items)
    _question_stage(training, objective, items, initial.vocabulary, validation, neighbours)
    training.metrics |= _prefixed("validation", validation.measure(towers))
    training.metrics |= _prefixed("test", test.measure(towers))
    return initial.vocabulary, towers


def _initial(training: _Training, corpus: WordCorpus) -> Initial:
    """Make what training starts from, or read what an interrupted one made: CBOW takes its time."""
    config, file = training.config, CheckpointFile(training.work / "initial.pt")
    state = file.read() if config.init == "cbow" else None
    if state is not None:
        return Initial(Vocabulary(state["entries"]), state["table"].numpy())

    def make_cbow(words: list[str]) -> WordVectors:
        return train_cbow(corpus, words, dims=config.cbow_dims, epochs=config.cbow_epochs, seed=config.seed)

    initial = make_initial(corpus, config, make_cbow)
    if config.init == "cbow" and rank() == 0:
        file.write({"entries": initial.vocabulary.entries, "table": torch.from_numpy(initial.table)})
    return initial


def _make_towers(initial: Initial, items: RaggedTexts, config: TwoTowerConfig) -> TwoTower:
    width = initial.table.shape[1]
    mlp = config.tower == "mlp"
    dims = config.dims or (width if mlp else RECURRENT_DIMS)
    hidden = config.hidden_dims if config.hidden_dims is not None else 0 if mlp else RECURRENT_DIMS
    shape = Architecture(
        tower=config.tower,
        rows=len(initial.vocabulary),
        word_dims=width,
        hidden_dims=hidden,
        layers=1 if mlp else config.layers,
        dims=dims,
        shared=config.shared,
    )
    towers = TwoTower(shape, dropout=config.dropout, train_table=config.train_words)
    towers.table.data.copy_(torch.from_numpy(initial.table))
    start_as_identity(towers, items)
    return towers


def _held_out(
    questions: Sequence[Question], items: RaggedTexts, vocabulary: Vocabulary, config: TwoTowerConfig
) -> HeldOut:
    return HeldOut(_rows(questions, vocabulary, config), questions, items)


def _rows(questions: Sequence[Question], vocabulary: Vocabulary, config: TwoTowerConfig) -> RaggedTexts:
    return RaggedTexts.pack([vocabulary.text_rows(question.text, config.max_words) for question in questions])


def _prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": round(value, 6) for name, value in metrics.items()}


def _corpus_stage(training: _Training, objective: TwoTowerObjective, items: RaggedTexts) -> None:
    config, stage = training.config, training.config.corpus_stage()
    if stage is None or len(items) < 2:
        return
    training.on_progress(StageStarted(stage="corpus"))
    batches = CorpusBatches(items, config.batch_size, CORPUS_STEPS_PER_EPOCH, config.seed)
    checkpoint = CheckpointFile(training.work / "corpus.pt")
    done = train(objective, batches, stage, training.on_progress, checkpoint=checkpoint)
    training.curves["corpus"] = done.history


def _question_stage(
    training: _Training,
    objective: TwoTowerObjective,
    items: RaggedTexts,
    vocabulary: Vocabulary,
    validation: HeldOut,
    neighbours: Neighbours | None,
) -> None:
    config, stage = training.config, training.config.question_stage()
    if stage is None:
        return
    training.on_progress(StageStarted(stage="questions"))
    questions = training.data.train
    batches = QuestionBatches(
        _rows(questions, vocabulary, config),
        items,
        questions,
        config.batch_size,
        config.own_negatives,
        config.mined_negatives,
        config.seed,
        mined=_mine(training.data, neighbours) if neighbours else (),
    )
    done = train(
        objective,
        batches,
        stage,
        training.on_progress,
        measure=(lambda: validation.measure(objective.towers)) if validation.questions else None,
        checkpoint=CheckpointFile(training.work / "questions.pt"),
    )
    training.curves["questions"] = done.history


def _mine(data: TrainingData, neighbours: Neighbours) -> list[NDArray[np.int64]]:
    """Ask the current index for items that look right for a training query and are not judged so."""
    numbers = {id: number for number, id in enumerate(data.item_ids)}
    mined: list[NDArray[np.int64]] = []
    for start in range(0, len(data.train), _MINED_AT_ONCE):
        some = data.train[start : start + _MINED_AT_ONCE]
        for question, ids in zip(some, neighbours([q.text for q in some]), strict=True):
            found = [numbers[id] for id in ids if id in numbers]
            mined.append(np.array([n for n in found if n not in question.positives], np.int64))
    return mined


def _save(training: _Training, job: Job, vocabulary: Vocabulary, towers: TwoTower) -> EncoderCard:
    training.on_progress(StageStarted(stage="save"))
    ws, config, version = training.ws, training.config, job.position["version"]
    folder = model_folder(ws, training.name, version)
    curves = {
        "config": config.record(),
        "data_digest": training.data.digest,
        "stages": training.curves,
        "metrics": training.metrics,
        "torch": torch.__version__,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / CURVES_FILE, (json.dumps(curves, indent=1) + "\n").encode())
    card = save_two_tower(
        folder,
        towers,
        vocabulary,
        name=training.name,
        version=version,
        max_words=config.max_words,
        training_data_digest=training.data.digest,
        training=config.record(),
        metrics=training.metrics,
    )
    with ws.atomic():
        register_model(ws, training.name, version, KIND, card.fingerprint, training.metrics)
        finish_run(
            ws,
            job.position["run"],
            metrics=training.metrics,
            artifacts={"curves": training.curves, "fingerprint": card.fingerprint},
        )
        job.finish()
    shutil.rmtree(training.work, ignore_errors=True)
    return card
