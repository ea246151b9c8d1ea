"""Fine-tuning a pretrained text encoder on a collection's judged questions."""

import shutil
from pathlib import Path

from encoders.artifacts import write_model
from encoders.card import EncoderCard, read_card
from encoders.pretrained.hub import CONFIG_FILE
from encoders.text.architecture import KIND, Architecture
from encoders.text.saving import weights_bytes
from encoders.text.tokenizing import TOKENIZER_FILE
from encoders.text.weights import QUERY_WEIGHTS_FILE, WEIGHTS_FILE
from encoders.training.data import read_training_data
from encoders.training.distributed import join, rank, share
from encoders.training.events import OnEvent, StageStarted, ignore
from encoders.training.fit import Neighbours
from encoders.training.registering import (
    begin_training,
    check_name,
    digest_of,
    finish_training,
    training_file,
)
from encoders.training.text_config import TextTuningConfig
from encoders.training.text_fit import TextTuning, corpus_vectors, fit_text
from encoders.training.text_objective import TextTowers
from retrieval.embeddings import share_embeddings
from retrieval.errors import IncompatibleModel, InvalidInput
from retrieval.jobs import Job
from retrieval.registry import find_model, model_folder
from retrieval.workspace import Workspace


def tune_text(
    ws: Workspace,
    collection: str,
    config: TextTuningConfig,
    *,
    name: str,
    neighbours: Neighbours | None = None,
    on_progress: OnEvent = ignore,
) -> EncoderCard:
    """Fine-tune a text encoder on a collection's judged questions, and register it as `name@version`.

    Killed at any moment, the same call goes on from the last checkpoint and ends with the same weights.
    Under torchrun every process makes this call. Where the query side is tuned alone, the new encoder's items
    have the vectors of the old one: they are taken over, and an index encodes nothing.

    Args:
        ws: the workspace.
        collection: what to train on.
        config: how, and from which encoder.
        name: of the model; its version is the next free number.
        neighbours: finds hard negatives in the current index; only where both sides are tuned.
        on_progress: told of stages, steps and epochs, in this thread.

    Returns:
        The card. Its metrics are those of the held-out questions, before (`zero_shot.`) and after:
        `validation` and `test` search the whole corpus, `sampled_validation` and `sampled_test` only a sample
        of it, which is easier.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotFound: if there is no such encoder.
        IncompatibleModel: if it is not a text encoder.
        InvalidTrainingData: if the data cannot be trained on; before any work began.
        FailedPrecondition: if the query side is tuned alone and an item has no vector yet.
        EncoderFault: if the training diverged.
        Conflict: if another process is at the same training.
    """
    check_name(name)
    if neighbours and config.tuned == "query":
        raise InvalidInput("there is nothing to mine: all items are negatives of a query side tuned alone")
    join()
    on_progress(StageStarted(stage="read"))
    model = find_model(ws, config.encoder)
    base = read_card(model.folder)
    if base.kind != KIND:
        raise IncompatibleModel(
            f"{model.reference} is of kind {base.kind!r}: only text encoders are tuned so"
        )
    data = read_training_data(ws, collection, skip_missing=config.skip_missing)
    digest = digest_of(config.record(), base.fingerprint, data.digest, neighbours is not None)
    work = ws.models / name / f".work-{digest[:16]}"
    tuning = TextTuning(base, model.folder, data, config, work, on_progress, neighbours)
    if config.tuned == "query":
        tuning.corpus = corpus_vectors(ws, collection, base, data.item_ids)
    if rank() > 0:
        fit_text(tuning)
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
    card = _save(ws, name, tuning, job, fit_text(tuning))
    share(card.to_json())
    return card


def _save(ws: Workspace, name: str, tuning: TextTuning, job: Job, towers: TextTowers) -> EncoderCard:
    tuning.on_progress(StageStarted(stage="save"))
    base, config = tuning.card, tuning.config
    version = job.position["version"]
    shape = Architecture.from_card(base.architecture)
    apart = towers.query is not towers.item
    card = write_model(
        model_folder(ws, name, version),
        EncoderCard(
            kind=KIND,
            name=name,
            version=version,
            modalities=base.modalities,
            dims=base.dims,
            max_words=base.max_words,
            preprocessing=base.preprocessing,
            architecture={**shape.to_card(), "shared": not apart},
            training_data_digest=tuning.data.digest,
            training={**config.record(), "source": f"{base.name}@{base.version}"},
            metrics=tuning.metrics,
        ),
        _files(tuning.folder, shape, towers),
        beside=training_file(config.record(), tuning.data.digest, tuning.metrics, stages=tuning.curves),
    )
    if tuning.corpus:
        share_embeddings(ws, base.fingerprint, card.fingerprint)
    finish_training(ws, job, card, artifacts={"curves": tuning.curves})
    shutil.rmtree(tuning.work, ignore_errors=True)
    return card


def _files(base: Path, shape: Architecture, towers: TextTowers) -> dict[str, bytes | Path]:
    files: dict[str, bytes | Path] = {
        CONFIG_FILE: base / CONFIG_FILE,
        TOKENIZER_FILE: base / TOKENIZER_FILE,
        WEIGHTS_FILE: base / WEIGHTS_FILE,
    }
    if any(parameter.requires_grad for parameter in towers.item.parameters()):
        files[WEIGHTS_FILE] = weights_bytes(shape, towers.item.state_dict())
    if towers.query is not towers.item:
        files[QUERY_WEIGHTS_FILE] = weights_bytes(shape, towers.query.state_dict())
    return files
