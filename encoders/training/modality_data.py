"""What a modality fusion is trained on: what the parts' encoders make of items, and what is to find what."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from encoders.modality_fusion.fusing import Present
from encoders.training.pairs import (
    PARTS,
    Floats,
    Rows,
    all_items,
    caption,
    deal_parts,
    group_names,
    joined,
    media_vectors,
)
from encoders.training.projection import Backbone, caption_vectors
from encoders.training.relations import by_label
from retrieval.content import Modality
from retrieval.errors import InvalidInput, InvalidTrainingData
from retrieval.items import StoredItem
from retrieval.judgements import JudgedQuery, judged_queries
from retrieval.workspace import Workspace

Mask = NDArray[np.bool_]
Vectors = Mapping[str, Floats]  # by modality, shape (n, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What is to find what: items their likes, by an attribute; or judged queries their items."""

    labels: str = ""  # the attribute that says which items are alike; empty = judged queries
    group_by: str = ""  # with labels: an attribute whose equal values are never parted
    text_attribute: str = ""  # that holds the caption; empty = the item's own text


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionItems:
    """Things to fuse: n items, or n queries."""

    vectors: Vectors
    present: Present  # (n, parts)

    def take(self, rows: Rows) -> "FusionItems":
        """Return some of them."""
        return FusionItems(
            vectors={name: vectors[rows] for name, vectors in self.vectors.items()},
            present=self.present[rows],
        )

    def only(self, part: int) -> "FusionItems":
        """Return them with one part only; those that lack it have zeros for it."""
        present = np.zeros_like(self.present)
        present[:, part] = True
        return FusionItems(vectors=self.vectors, present=present)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Queries of one part of the split, and the items among which they look."""

    queries: FusionItems
    items: FusionItems
    relevant: Mask  # (queries, items)
    candidates: Mask  # (queries, items): those that count; not the query itself, nor its group


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityData:
    """All that a modality fusion learns from and is measured by."""

    modalities: tuple[Modality, ...]
    items: FusionItems
    queries: FusionItems | None  # None: the items themselves
    relevant: Mask  # (queries or items, items)
    train: Rows  # the queries to learn from
    tasks: Mapping[str, Task]  # "validation" and "test"
    counts: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""


def read_modality_data(
    ws: Workspace,
    collection: str,
    parts: Mapping[Modality, Backbone],
    aim: Aim,
    *,
    test: float,
    validation: float,
    seed: int,
) -> ModalityData:
    """Read the items of a collection that have a vector of some part.

    Args:
        ws: the workspace.
        collection: its name; its media must have vectors of their parts' encoders.
        parts: by modality, the frozen encoder.
        aim: what is to find what.
        test: with labels, the share of the items that is held out.
        validation: the share that tells when to stop.
        seed: of which.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidTrainingData: if there is nothing to learn from.
        InvalidInput: if there are judged queries to learn from and no part for texts.
    """
    items, vectors, present = _read_items(ws, collection, parts, aim.text_attribute)
    fused = FusionItems(vectors=vectors, present=present)
    digest = hashlib.sha256(present.tobytes())
    for name in sorted(vectors):
        digest.update(vectors[name].tobytes())
    digest.update(repr([(item.id, item.attributes.get(aim.labels)) for item in items]).encode())
    share = {"test": test, "validation": validation}
    if aim.labels:
        return _by_labels(fused, items, tuple(parts), aim, share, seed, digest.hexdigest())
    return _by_queries(ws, collection, fused, items, parts, share, digest.hexdigest())


def _read_items(
    ws: Workspace, collection: str, parts: Mapping[Modality, Backbone], text_attribute: str
) -> tuple[list[StoredItem], dict[str, Floats], Present]:
    of_media = {
        modality: media_vectors(ws, collection, part.encoder.card.fingerprint)
        for modality, part in parts.items()
        if modality is not Modality.TEXT
    }
    items, told = [], []
    for item in all_items(ws, collection):
        text = caption(item, text_attribute) if Modality.TEXT in parts else ""
        if text or any(item.rowid in of_media[one] for one in of_media if one is item.modality):
            items.append(item)
            told.append(text)
    if not items:
        raise InvalidTrainingData(f"no item of {collection!r} has a vector of any part, nor a text")
    present = np.zeros((len(items), len(parts)), np.bool_)
    vectors: dict[str, Floats] = {}
    for place, (modality, part) in enumerate(parts.items()):
        own = np.zeros((len(items), part.encoder.card.dims), np.float32)
        if modality is Modality.TEXT:
            rows = [row for row, text in enumerate(told) if text]
            distinct = {text: number for number, text in enumerate(dict.fromkeys(told[row] for row in rows))}
            made = caption_vectors(ws, list(distinct), part.encoder, side="item") if rows else own
            for row in rows:
                own[row] = made[distinct[told[row]]]
        else:
            rows = [
                row
                for row, item in enumerate(items)
                if item.modality is modality and item.rowid in of_media[modality]
            ]
            for row in rows:
                own[row] = of_media[modality][items[row].rowid]
        present[rows, place] = True
        vectors[modality.value] = own
    return items, vectors, present


def _by_labels(
    fused: FusionItems,
    items: Sequence[StoredItem],
    modalities: tuple[Modality, ...],
    aim: Aim,
    share: Mapping[str, float],
    seed: int,
    digest: str,
) -> ModalityData:
    values = [item.attributes.get(aim.labels) for item in items]
    if all(value is None for value in values):
        raise InvalidTrainingData(f"no item has the attribute {aim.labels!r}")
    ids = [item.id for item in items]
    groups = joined([str(item.attributes.get(aim.group_by, f"item {item.id}")) for item in items])
    relations = by_label(values)
    everything = np.arange(len(items))
    relevant = relations.together(everything, everything) & (groups[:, None] != groups[None])
    dealt = deal_parts(groups, group_names(groups, ids), **share, seed=seed)
    tasks = {}
    for name in ("validation", "test"):
        rows = dealt[name]
        wanted = relevant[np.ix_(rows, rows)]
        asking = np.flatnonzero(wanted.any(axis=1))
        tasks[name] = Task(
            queries=fused.take(rows[asking]),
            items=fused.take(rows),
            relevant=wanted[asking],
            candidates=(groups[rows][:, None] != groups[rows][None])[asking],
        )
    train = dealt["train"]
    train = train[relevant[np.ix_(train, train)].any(axis=1)]
    _check(train, tasks, f"by the attribute {aim.labels!r}")
    held = np.zeros(len(items), np.bool_)
    held[dealt["train"]] = True
    return ModalityData(
        modalities=modalities,
        items=fused,
        queries=None,
        relevant=relevant & held[None],
        train=train,
        tasks=tasks,
        counts={part: len(dealt[part]) for part in PARTS} | {"labels": len(relations.names)},
        digest=digest,
    )


def _by_queries(
    ws: Workspace,
    collection: str,
    fused: FusionItems,
    items: Sequence[StoredItem],
    parts: Mapping[Modality, Backbone],
    share: Mapping[str, float],
    digest: str,
) -> ModalityData:
    if Modality.TEXT not in parts:
        raise InvalidInput("judged queries are texts: expected a part for text", field="parts")
    number = {item.id: row for row, item in enumerate(items)}
    judged = [
        query
        for query in judged_queries(ws, collection)
        if query.text.strip() and any(grade > 0 and id in number for id, grade in query.grades.items())
    ]
    if not judged:
        raise InvalidTrainingData(f"collection {collection!r} has no judged queries with an item to find")
    modalities = tuple(parts)
    asked = caption_vectors(ws, [query.text for query in judged], parts[Modality.TEXT].encoder)
    queries = _texts_alone(fused, modalities, asked)
    relevant = np.zeros((len(judged), len(items)), np.bool_)
    for row, query in enumerate(judged):
        relevant[row, [number[id] for id, grade in query.grades.items() if grade > 0 and id in number]] = True
    splits = [query.split or "train" for query in judged]
    rows_of = _rows_by_part(judged, splits, share["validation"])
    tasks = {
        name: Task(
            queries=queries.take(rows_of[name]),
            items=fused,
            relevant=relevant[rows_of[name]],
            candidates=np.ones((len(rows_of[name]), len(items)), np.bool_),
        )
        for name in ("validation", "test")
    }
    _check(rows_of["train"], tasks, "by the judged queries")
    told = hashlib.sha256(digest.encode() + asked.tobytes() + relevant.tobytes() + repr(splits).encode())
    return ModalityData(
        modalities=modalities,
        items=fused,
        queries=queries,
        relevant=relevant,
        train=rows_of["train"],
        tasks=tasks,
        counts={part: len(rows) for part, rows in rows_of.items()} | {"items": len(items)},
        digest=told.hexdigest(),
    )


def _texts_alone(fused: FusionItems, modalities: Sequence[Modality], texts: Floats) -> FusionItems:
    """Make queries that have a text, shape (n, width), and none of the other parts."""
    vectors = {name: np.zeros((len(texts), own.shape[1]), np.float32) for name, own in fused.vectors.items()}
    vectors[Modality.TEXT.value] = texts
    present = np.zeros((len(texts), len(modalities)), np.bool_)
    present[:, modalities.index(Modality.TEXT)] = True
    return FusionItems(vectors=vectors, present=present)


def _rows_by_part(judged: Sequence[JudgedQuery], splits: Sequence[str], validation: float) -> dict[str, Rows]:
    """Part queries by their splits; where none is to validate, some of those to train on are."""
    rows_of = {
        part: np.array([row for row, split in enumerate(splits) if split == part], np.int64) for part in PARTS
    }
    if not len(rows_of["validation"]):
        drawn = sorted(rows_of["train"], key=lambda row: hashlib.sha256(judged[row].text.encode()).digest())
        kept = max(1, round(validation * len(drawn)))
        rows_of |= {"train": np.sort(drawn[kept:]), "validation": np.sort(drawn[:kept])}
    return rows_of


def _check(train: Rows, tasks: Mapping[str, Task], by: str) -> None:
    if len(train) < 2 or any(not len(task.relevant) for task in tasks.values()):
        raise InvalidTrainingData(
            f"{by} there are {len(train)} queries to learn from, {len(tasks['validation'].relevant)} to stop"
            f" by and {len(tasks['test'].relevant)} to test; expected at least 2, 1 and 1 that have something"
            " to find"
        )
