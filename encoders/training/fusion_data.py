"""What a layer fusion is trained on: stored features by item, and which items belong together."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from encoders.probing.meter import targets_of
from encoders.probing.targets import TARGET_NAMES
from encoders.training.relations import (
    Relations,
    Rows,
    by_label,
    by_pairs,
    never_parted,
    singletons,
)
from retrieval.errors import InvalidInput, InvalidTrainingData, ModelNotFound
from retrieval.features import read_features
from retrieval.items import StoredItem, list_items
from retrieval.segments import locate
from retrieval.workspace import Workspace

TARGET_PREFIX = "target:"
_PAGE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Belonging:
    """What tells which items belong together: an attribute, a proxy target, or a list of pairs."""

    labels: str = ""  # an attribute such as "composer"; or "target:spectral_centroid"
    pairs: Sequence[tuple[str, str]] = field(default=(), repr=False)
    group_by: str = ""  # an attribute whose equal values are never parted by a fold, such as "work"

    def __post_init__(self) -> None:
        """Check that one thing is told, and one only.

        Raises:
            InvalidInput: if not, or if there is no such target.
        """
        if bool(self.labels) == bool(self.pairs):
            raise InvalidInput("expected labels (an attribute) or pairs, and not both", field="labels")
        target = self.labels.removeprefix(TARGET_PREFIX)
        if self.labels.startswith(TARGET_PREFIX) and target not in TARGET_NAMES:
            raise InvalidInput(
                f"labels: there is no target {target!r}; there are {', '.join(TARGET_NAMES)}", field="labels"
            )

    @property
    def target(self) -> str:
        """The proxy target that the labels are; empty if they are an attribute."""
        return self.labels.removeprefix(TARGET_PREFIX) if self.labels.startswith(TARGET_PREFIX) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionData:
    """The features of n items, and what is known of them."""

    ids: Sequence[str]
    features: NDArray[np.float32]  # (n, layers, width): the mean over an item's segments
    relations: Relations
    groups: Rows  # (n,): items of one group are no positives of each other
    units: Rows  # (n,): what no fold parts
    unit_names: Sequence[str]  # by number
    singletons: Sequence[int]
    digest: str


def read_fusion_data(ws: Workspace, collection: str, fingerprint: str, belonging: Belonging) -> FusionData:
    """Read the items of a collection that have features.

    Args:
        ws: the workspace.
        collection: its name.
        fingerprint: of the frozen model's features.
        belonging: what tells which items belong together.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidTrainingData: if there are no features, or nothing belongs together.
    """
    rowids, features = _features_by_item(ws, collection, fingerprint)
    items = _items(ws, collection)
    held = [items[rowid] for rowid in rowids]
    ids = [item.id for item in held]
    relations = _relations(ws, collection, held, rowids, belonging)
    names = [str(item.attributes.get(belonging.group_by, f"item {item.id}")) for item in held]
    groups = np.unique(names, return_inverse=True)[1].astype(np.int64)
    units = never_parted(groups, relations)
    alone = singletons(relations, groups)
    if len(alone) == len(ids):
        told = f"attribute {belonging.labels!r}" if belonging.labels else "the pairs"
        raise InvalidTrainingData(f"by {told}, no item belongs together with one of another group")
    digest = hashlib.sha256(features.tobytes())
    everything = np.arange(len(ids))
    for row in range(len(ids)):
        together = relations.together(everything[row : row + 1], everything)
        digest.update(f"{ids[row]!r}{names[row]!r}".encode() + np.packbits(together).tobytes())
    return FusionData(
        ids=ids,
        features=features,
        relations=relations,
        groups=groups,
        units=units,
        unit_names=[
            min(name for name, unit in zip(names, units, strict=True) if unit == number)
            for number in range(int(units.max()) + 1)
        ],
        singletons=alone,
        digest=digest.hexdigest(),
    )


def _features_by_item(
    ws: Workspace, collection: str, fingerprint: str
) -> tuple[list[int], NDArray[np.float32]]:
    """Average the features of each item's segments: rowids of items, and shape (n, layers, width)."""
    sums: dict[int, NDArray[np.float64]] = {}
    counts: dict[int, int] = {}
    try:
        for keys, features in read_features(ws, collection, fingerprint):
            rows = locate(ws, collection, keys)
            for key, values in zip(keys.tolist(), features, strict=True):
                item = rows[key].item_rowid
                sums[item] = sums.get(item, 0) + values.astype(np.float64)
                counts[item] = counts.get(item, 0) + 1
    except ModelNotFound:
        sums = {}
    if not sums:
        raise InvalidTrainingData(f"collection {collection!r} has no stored features of this model")
    rowids = sorted(sums)
    return rowids, np.stack([sums[item] / counts[item] for item in rowids]).astype(np.float32)


def _items(ws: Workspace, collection: str) -> dict[int, StoredItem]:
    found: dict[int, StoredItem] = {}
    after = 0
    while page := list_items(ws, collection, after_rowid=after, limit=_PAGE):
        found.update((item.rowid, item) for item in page)
        after = page[-1].rowid
    return found


def _relations(
    ws: Workspace, collection: str, items: Sequence[StoredItem], rowids: Sequence[int], belonging: Belonging
) -> Relations:
    if belonging.pairs:
        return by_pairs([item.id for item in items], belonging.pairs)
    if belonging.target:
        return by_label(_target_values(ws, collection, rowids, belonging.target))
    values = [item.attributes.get(belonging.labels) for item in items]
    if all(value is None for value in values):
        raise InvalidTrainingData(
            f"no item of {collection!r} with features has the attribute {belonging.labels!r}"
        )
    return by_label(values)


def _target_values(ws: Workspace, collection: str, rowids: Sequence[int], target: str) -> list[float | None]:
    measured = targets_of(ws, collection)
    rows = locate(ws, collection, sorted(measured))
    column = TARGET_NAMES.index(target)
    by_item: dict[int, list[float]] = {}
    for key, values in measured.items():
        by_item.setdefault(rows[key].item_rowid, []).append(float(values[column]))
    if not by_item:
        raise InvalidTrainingData(f"collection {collection!r} has no proxy targets: run `probe` first")
    return [float(np.mean(by_item[item])) if item in by_item else None for item in rowids]
