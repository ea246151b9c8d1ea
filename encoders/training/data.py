"""Training data of a collection: its texts, its judged queries, and the checks before any work begins."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.collections import require_collection
from retrieval.content import Modality
from retrieval.errors import InvalidTrainingData
from retrieval.items import list_items
from retrieval.judgements import JudgedQuery, judged_queries
from retrieval.workspace import Workspace

_PAGE = 5_000
_VALIDATION_FRACTION = 0.1  # of the training queries, where the collection has no validation split
MIN_TRAINING_QUERIES = 2  # of one query nothing can be learned: it has no in-batch negatives


@dataclass(frozen=True, slots=True)
class Question:
    """A judged query, its items as numbers of the corpus."""

    text: str
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]  # shown with it and not relevant


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All that a two-tower learns from."""

    item_ids: Sequence[str]
    item_texts: Sequence[str]
    train: Sequence[Question]
    validation: Sequence[Question]
    test: Sequence[Question]  # never looked at before the training is over
    digest: str  # sha256 over items and queries


def read_training_data(ws: Workspace, collection: str, *, skip_missing: bool = False) -> TrainingData:
    """Read a collection and check that a two-tower can be trained on it.

    Args:
        ws: the workspace.
        collection: its text items and judged queries are read.
        skip_missing: ignore judgements of items that the collection does not have.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidTrainingData: saying what is wrong with the first fault found.
    """
    require_collection(ws, collection)
    digest = hashlib.sha256()
    ids: list[str] = []
    texts: list[str] = []
    for id, text in _text_items(ws, collection):
        ids.append(id)
        texts.append(text)
        digest.update(f"{len(id)}:{id}{len(text)}:{text}".encode())
    queries = judged_queries(ws, collection)
    for query in queries:
        digest.update(f"{query.id!r}{query.text!r}{query.split}{sorted(query.grades.items())}".encode())
    if not texts:
        raise InvalidTrainingData(f"collection {collection!r} has no text items to train on")
    splits = _questions(queries, ids, collection, skip_missing)
    train, validation = _with_validation(splits["train"] + splits[""], splits["validation"])
    _check(collection, len(queries), train)
    return TrainingData(ids, texts, train, validation, splits["test"], digest.hexdigest())


def _text_items(ws: Workspace, collection: str) -> Iterator[tuple[str, str]]:
    after = 0
    while page := list_items(ws, collection, after_rowid=after, limit=_PAGE):
        for item in page:
            if item.modality is Modality.TEXT and item.text.strip():
                yield item.id, item.text
        after = page[-1].rowid


def _questions(
    queries: Sequence[JudgedQuery], ids: Sequence[str], collection: str, skip_missing: bool
) -> dict[str, list[Question]]:
    numbers = {id: number for number, id in enumerate(ids)}
    missing = sorted(
        {id for query in queries for id, grade in query.grades.items() if grade > 0} - set(numbers)
    )
    if missing and not skip_missing:
        raise InvalidTrainingData(
            f"{len(missing)} relevant items are not in {collection!r}, the first is {missing[0]!r}:"
            " import them, or train with skip_missing",
            missing=len(missing),
        )
    splits: dict[str, list[Question]] = {"train": [], "validation": [], "test": [], "": []}
    for query in queries:
        known = {numbers[id]: grade for id, grade in query.grades.items() if id in numbers}
        positives = [number for number, grade in known.items() if grade > 0]
        if positives and query.text.strip():
            negatives = [number for number, grade in known.items() if grade <= 0]
            splits[query.split].append(
                Question(query.text, np.array(positives, np.int64), np.array(negatives, np.int64))
            )
    return splits


def _with_validation(
    train: list[Question], validation: list[Question]
) -> tuple[list[Question], list[Question]]:
    """Keep some training queries back if nothing else can tell when to stop; their text decides which."""
    if validation or len(train) <= MIN_TRAINING_QUERIES:
        return train, validation
    ordered = sorted(train, key=lambda question: hashlib.sha256(question.text.encode()).digest())
    kept = max(1, int(_VALIDATION_FRACTION * len(train)))
    return ordered[kept:], ordered[:kept]


def _check(collection: str, queries: int, train: Sequence[Question]) -> None:
    if queries == 0:
        raise InvalidTrainingData(
            f"collection {collection!r} has no judged queries: import some, or use given vectors untrained"
        )
    if not train:
        raise InvalidTrainingData(
            f"none of the {queries} judged queries to train on in {collection!r} has a relevant item"
        )
    if len(train) < MIN_TRAINING_QUERIES:
        raise InvalidTrainingData(
            f"collection {collection!r} has {len(train)} query to train on, expected at least"
            f" {MIN_TRAINING_QUERIES}: a single one has nothing to be told apart from"
        )
