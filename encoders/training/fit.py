"""Fitting a two-tower to training data: vocabulary, word table, the two stages. Writes checkpoints only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.training.batches import CorpusBatches, QuestionBatches
from encoders.training.cbow import train_cbow
from encoders.training.checkpoint import CheckpointFile
from encoders.training.config import CORPUS_STEPS_PER_EPOCH, TwoTowerConfig
from encoders.training.corpus import WordCorpus
from encoders.training.data import Question, TrainingData
from encoders.training.distributed import rank, share
from encoders.training.events import OnEvent, StageStarted
from encoders.training.held_out import HeldOut
from encoders.training.initial import Initial, make_initial, start_as_identity
from encoders.training.loop import train
from encoders.training.objective import TwoTowerObjective
from encoders.training.word_vectors import WordVectors
from encoders.two_tower.architecture import Architecture
from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.towers import TwoTower
from encoders.two_tower.vocabulary import Vocabulary

RECURRENT_DIMS = 256
_MINED_AT_ONCE = 256

Neighbours: TypeAlias = Callable[[Sequence[str]], Sequence[Sequence[str]]]
"""Query texts -> for each the ids that the current index finds, best first (some 30)."""


@dataclass(slots=True)
class Training:
    """What is trained on what, and what comes of it."""

    data: TrainingData
    config: TwoTowerConfig
    work: Path  # checkpoints
    on_progress: OnEvent
    neighbours: Neighbours | None = None
    curves: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def fit(training: Training) -> tuple[Vocabulary, TwoTower]:
    """Train from the last checkpoint, or from the beginning.

    Fills `training.curves` and `training.metrics`.

    Raises:
        InvalidTrainingData: if no word of the corpus is frequent enough.
        UnreadableSource: if the file of word vectors is not one.
        EncoderFault: if the training diverged.
    """
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
    _question_stage(training, objective, items, initial.vocabulary, validation)
    training.metrics |= _prefixed("validation", validation.measure(towers))
    training.metrics |= _prefixed("test", test.measure(towers))
    return initial.vocabulary, towers


def _initial(training: Training, corpus: WordCorpus) -> Initial:
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


def _corpus_stage(training: Training, objective: TwoTowerObjective, items: RaggedTexts) -> None:
    config, stage = training.config, training.config.corpus_stage()
    if stage is None or len(items) < 2:
        return
    training.on_progress(StageStarted(stage="corpus"))
    batches = CorpusBatches(items, config.batch_size, CORPUS_STEPS_PER_EPOCH, config.seed)
    checkpoint = CheckpointFile(training.work / "corpus.pt")
    done = train(objective, batches, stage, training.on_progress, checkpoint=checkpoint)
    training.curves["corpus"] = done.history


def _question_stage(
    training: Training,
    objective: TwoTowerObjective,
    items: RaggedTexts,
    vocabulary: Vocabulary,
    validation: HeldOut,
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
        mined=mined_negatives(training.work, training.data, training.neighbours),
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


def mined_negatives(work: Path, data: TrainingData, neighbours: Neighbours | None) -> list[NDArray[np.int64]]:
    """Return the mined negatives, none where nothing finds any.

    A resumed training keeps its own, as the index may have changed.
    """
    if neighbours is None:
        return []
    file = CheckpointFile(work / "mined.pt")
    state = file.read()
    if state is not None:
        return [items.numpy() for items in state["mined"]]
    mined = share(_mine(data, neighbours) if rank() == 0 else None)
    if rank() == 0:
        file.write({"mined": [torch.from_numpy(items) for items in mined]})
    return list(mined)


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
