"""Training a two-tower from a collection: read, start from word vectors, train in two stages, save."""

import hashlib
import json
import shutil
from pathlib import Path

from encoders.card import EncoderCard
from encoders.training.config import TwoTowerConfig
from encoders.training.data import TrainingData, read_training_data
from encoders.training.distributed import join, rank, share
from encoders.training.events import OnEvent, StageStarted, ignore
from encoders.training.fit import Neighbours, Training, fit
from encoders.training.registering import begin_training, check_name, finish_training, training_file
from encoders.two_tower.saving import save_two_tower
from encoders.two_tower.towers import TwoTower
from encoders.two_tower.vocabulary import Vocabulary
from retrieval.errors import UnreadableSource
from retrieval.jobs import Job
from retrieval.registry import model_folder
from retrieval.workspace import Workspace


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
        Conflict: if another process is at the same training.
    """
    check_name(name)
    join()
    on_progress(StageStarted(stage="read"))
    data = read_training_data(ws, collection, skip_missing=config.skip_missing)
    digest = _digest(config, data, mined=neighbours is not None)
    work = ws.models / name / f".work-{digest[:16]}"
    training = Training(data, config, work, on_progress, neighbours)
    if rank() > 0:
        fit(training)
        return EncoderCard.from_json(share(None))
    job = begin_training(
        ws,
        collection,
        name,
        digest,
        config=config.record(),
        seed=config.seed,
        data_digest=data.digest,
    )
    vocabulary, towers = fit(training)
    card = _save(ws, name, training, job, vocabulary, towers)
    share(card.to_json())
    return card


def _digest(config: TwoTowerConfig, data: TrainingData, *, mined: bool) -> str:
    """Identify a training: the same digest, the same weights."""
    digest = hashlib.sha256(json.dumps([config.record(), data.digest, mined], sort_keys=True).encode())
    path = Path(config.init)
    if config.init in ("cbow", "none"):
        return digest.hexdigest()
    if not path.exists():
        raise UnreadableSource(
            f"there is no file of word vectors {path.name!r}: expected one, or none, cbow or static"
        )
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def _save(
    ws: Workspace, name: str, training: Training, job: Job, vocabulary: Vocabulary, towers: TwoTower
) -> EncoderCard:
    training.on_progress(StageStarted(stage="save"))
    config, version = training.config, job.position["version"]
    record, digest = config.record(), training.data.digest
    card = save_two_tower(
        model_folder(ws, name, version),
        towers,
        vocabulary,
        name=name,
        version=version,
        max_words=config.max_words,
        training_data_digest=digest,
        training=record,
        metrics=training.metrics,
        beside=training_file(record, digest, training.metrics, stages=training.curves),
    )
    finish_training(ws, job, card, artifacts={"curves": training.curves})
    shutil.rmtree(training.work, ignore_errors=True)
    return card
