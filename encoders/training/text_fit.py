"""Fitting a pretrained text encoder to judged questions. Writes checkpoints only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from encoders.card import EncoderCard
from encoders.device import device, dtype
from encoders.text.architecture import Architecture
from encoders.text.tokenizing import TOKENIZER_FILE, Tokenizer
from encoders.text.torch_runtime import read_tensors
from encoders.text.transformer import Transformer, load_transformer
from encoders.text.weights import QUERY_WEIGHTS_FILE, WEIGHTS_FILE
from encoders.training.batches import QuestionBatches
from encoders.training.checkpoint import CheckpointFile
from encoders.training.data import Question, TrainingData
from encoders.training.events import OnEvent, StageStarted
from encoders.training.fit import Neighbours, mined_negatives
from encoders.training.loop import train
from encoders.training.text_batches import CorpusBatches
from encoders.training.text_config import TextTuningConfig
from encoders.training.text_held_out import HeldOutInCorpus, HeldOutInSample
from encoders.training.text_objective import CorpusObjective, CorpusVectors, PairObjective, TextTowers
from encoders.two_tower.ragged import RaggedTexts
from retrieval.embeddings import count_embeddings, read_embeddings
from retrieval.errors import FailedPrecondition
from retrieval.workspace import Workspace

_TOKENISED_AT_ONCE = 2_048

HeldOut: TypeAlias = HeldOutInCorpus | HeldOutInSample


@dataclass(slots=True)
class TextTuning:
    """What is fine-tuned on what, and what comes of it."""

    card: EncoderCard  # of the encoder that it begins with
    folder: Path  # its files
    data: TrainingData
    config: TextTuningConfig
    work: Path  # checkpoints
    on_progress: OnEvent
    neighbours: Neighbours | None = None
    corpus: CorpusVectors | None = None  # where the query side is tuned alone
    curves: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def fit_text(tuning: TextTuning) -> TextTowers:
    """Train from the last checkpoint, or from the beginning.

    Fills `tuning.curves` and `tuning.metrics`.

    Raises:
        EncoderFault: if the training diverged.
    """
    config, data = tuning.config, tuning.data
    torch.manual_seed(config.seed)
    towers = _open_towers(tuning)
    towers.to(device())
    count = len(data.train) + (0 if tuning.corpus else len(data.item_texts))
    tuning.on_progress(StageStarted(stage="texts", detail=f"{count:,}"))
    tokens = _Tokens(tuning)
    objective, batches = (
        _query_side(tuning, towers, tokens) if tuning.corpus else _both(tuning, towers, tokens)
    )
    validation, test = tokens.held_out(data.validation), tokens.held_out(data.test)
    prefix = "" if tuning.corpus else "sampled_"
    measured = {f"{prefix}validation": validation, f"{prefix}test": test}
    tuning.metrics |= _measure("zero_shot.", measured, towers)
    tuning.on_progress(StageStarted(stage="questions"))
    done = train(
        objective.to(device()),
        batches,
        config.stage(),
        tuning.on_progress,
        measure=(lambda: validation.measure(towers)) if data.validation else None,
        checkpoint=CheckpointFile(tuning.work / "questions.pt"),
    )
    tuning.curves["questions"] = done.history
    tuning.metrics |= _measure("", measured, towers)
    return towers


def _measure(prefix: str, held_out: Mapping[str, HeldOut], towers: TextTowers) -> dict[str, float]:
    return {
        f"{prefix}{split}.{name}": round(value, 6)
        for split, queries in held_out.items()
        for name, value in queries.measure(towers).items()
    }


def _open_towers(tuning: TextTuning) -> TextTowers:
    config, shape = tuning.config, Architecture.from_card(tuning.card.architecture)

    def open_side(weights: str) -> Transformer:
        return load_transformer(shape, read_tensors(tuning.folder / weights, shape), dropout=config.dropout)

    item = open_side(WEIGHTS_FILE)
    query = item
    if not shape.shared:
        query = open_side(QUERY_WEIGHTS_FILE)
    elif tuning.corpus:
        query = open_side(WEIGHTS_FILE)
    if tuning.corpus:
        item.requires_grad_(False)
    return TextTowers(query, item, texts_at_once=config.texts_at_once, dtype=dtype(config.precision))


class _Tokens:
    """The texts of a training as token ids."""

    def __init__(self, tuning: TextTuning) -> None:
        card, data, config = tuning.card, tuning.data, tuning.config
        self._tuning = tuning
        self._tokenizer = Tokenizer(
            tuning.folder / TOKENIZER_FILE,
            max_tokens=min(int(card.preprocessing["max_tokens"]), config.max_tokens),
            vocabulary=Architecture.from_card(card.architecture).vocabulary,
        )
        prefix = str(card.preprocessing["item_prefix"])
        texts = () if tuning.corpus else data.item_texts
        self.items = self._pack(prefix + text for text in texts)

    def queries(self, questions: Sequence[Question]) -> RaggedTexts:
        """Return the questions' texts."""
        prefix = str(self._tuning.card.preprocessing["query_prefix"])
        return self._pack(prefix + question.text for question in questions)

    def held_out(self, questions: Sequence[Question]) -> HeldOut:
        """Return what held-out questions are measured on."""
        config, queries = self._tuning.config, self.queries(questions)
        if self._tuning.corpus:
            return HeldOutInCorpus(queries, questions, self._tuning.corpus)
        return HeldOutInSample.draw(queries, questions, self.items, config.held_out_items, config.seed)

    def _pack(self, texts: Iterable[str]) -> RaggedTexts:
        given, ids = list(texts), []
        for start in range(0, len(given), _TOKENISED_AT_ONCE):
            ids += [
                found.astype(np.int32)
                for found in self._tokenizer.ids(given[start : start + _TOKENISED_AT_ONCE])
            ]
        return RaggedTexts.pack(ids)


def _query_side(
    tuning: TextTuning, towers: TextTowers, tokens: _Tokens
) -> tuple[CorpusObjective, CorpusBatches]:
    config, questions, corpus = tuning.config, tuning.data.train, tuning.corpus
    assert corpus is not None
    objective = CorpusObjective(
        towers, corpus, temperature=config.temperature, learn_temperature=config.learn_temperature
    )
    return objective, CorpusBatches(tokens.queries(questions), questions, config.batch_size, config.seed)


def _both(tuning: TextTuning, towers: TextTowers, tokens: _Tokens) -> tuple[PairObjective, QuestionBatches]:
    config, questions = tuning.config, tuning.data.train
    objective = PairObjective(
        towers, temperature=config.temperature, learn_temperature=config.learn_temperature
    )
    batches = QuestionBatches(
        tokens.queries(questions),
        tokens.items,
        questions,
        config.batch_size,
        config.own_negatives,
        config.mined_negatives,
        config.seed,
        mined=mined_negatives(tuning.work, tuning.data, tuning.neighbours),
    )
    return objective, batches


def corpus_vectors(ws: Workspace, collection: str, card: EncoderCard, ids: Sequence[str]) -> CorpusVectors:
    """Read the vectors that an encoder made of a collection's items.

    Args:
        ws: the workspace.
        collection: its name.
        card: of the encoder.
        ids: of the items, in the order of their numbers.

    Raises:
        FailedPrecondition: if an item has no vector yet.
    """
    numbers = {id: number for number, id in enumerate(ids)}
    rows = ws.fetch(
        "SELECT segments.rowid, items.id FROM segments JOIN items ON items.rowid = segments.item"
        " WHERE items.collection = ?",
        (collection,),
    )
    owner_of = {key: numbers[id] for key, id in rows if id in numbers}
    owners: list[int] = []
    vectors: list[torch.Tensor] = []
    if count_embeddings(ws, collection, card.fingerprint):
        for keys, some in read_embeddings(ws, collection, card.fingerprint):
            known = [place for place, key in enumerate(keys.tolist()) if key in owner_of]
            owners += [owner_of[int(keys[place])] for place in known]
            vectors.append(torch.from_numpy(some[known]))
    if missing := len(ids) - len(set(owners)):
        raise FailedPrecondition(
            f"{missing} of {len(ids)} items have no vector of {card.name}@{card.version}, which a query side "
            f"tuned alone takes as they are: run `twinspire index {collection} --encoder {card.name}` first"
        )
    order = np.argsort(owners, kind="stable")
    by_item = np.array(owners, np.int64)[order]
    starts = np.searchsorted(by_item, np.arange(len(ids) + 1))
    return CorpusVectors(torch.cat(vectors)[torch.from_numpy(order)].to(device()), by_item, starts)
