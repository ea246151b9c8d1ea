"""Which items of a collection belong together: an attribute, a proxy target, or a list of pairs says so."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from encoders.probing.meter import targets_of
from encoders.probing.targets import TARGET_NAMES
from encoders.training.relations import (
    PairRelations,
    Relations,
    Rows,
    by_label,
    by_pairs,
    never_parted,
    singletons,
)
from retrieval.errors import InvalidInput, InvalidTrainingData
from retrieval.items import StoredItem, list_items
from retrieval.segments import locate
from retrieval.workspace import Workspace

TARGET_PREFIX = "target:"
_PAGE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Belonging:
    """What tells which items belong together."""

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
        if self.labels.startswith(TARGET_PREFIX) and self.target not in TARGET_NAMES:
            raise InvalidInput(
                f"labels: there is no target {self.target!r}; there are {', '.join(TARGET_NAMES)}",
                field="labels",
            )

    @property
    def target(self) -> str:
        """The proxy target that the labels are; empty if they are an attribute."""
        return self.labels.removeprefix(TARGET_PREFIX) if self.labels.startswith(TARGET_PREFIX) else ""

    def record(self) -> dict[str, str]:
        """Return what is told of it in the card and the run."""
        return {
            "labels": self.labels or f"{len(self.pairs)} pairs",
            "group_by": self.group_by or "item",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """Items, by number, and which of them belong together."""

    ids: Sequence[str]
    relations: Relations
    groups: Rows  # (n,): items of one group are no positives of each other
    units: Rows  # (n,): what no fold parts
    unit_names: Sequence[str]  # by number
    singletons: Sequence[int]
    digest: str  # sha256 over all this


def relate(ws: Workspace, collection: str, items: Sequence[StoredItem], belonging: Belonging) -> Related:
    """Find out which items belong together.

    Raises:
        InvalidTrainingData: if none do.
    """
    ids = [item.id for item in items]
    relations = _relations(ws, collection, items, belonging)
    names = [str(item.attributes.get(belonging.group_by, f"item {item.id}")) for item in items]
    groups = np.unique(names, return_inverse=True)[1].astype(np.int64)
    units = never_parted(groups, relations)
    alone = singletons(relations, groups)
    if len(alone) == len(ids):
        told = f"attribute {belonging.labels!r}" if belonging.labels else "the pairs"
        raise InvalidTrainingData(f"by {told}, no item belongs together with one of another group")
    return Related(
        ids=ids,
        relations=relations,
        groups=groups,
        units=units,
        unit_names=[
            min(name for name, unit in zip(names, units, strict=True) if unit == number)
            for number in range(int(units.max()) + 1)
        ],
        singletons=alone,
        digest=_digest(ids, names, relations),
    )


def items_by_rowid(ws: Workspace, collection: str) -> dict[int, StoredItem]:
    """Read the items of a collection, by ascending rowid.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    found: dict[int, StoredItem] = {}
    after = 0
    while page := list_items(ws, collection, after_rowid=after, limit=_PAGE):
        found.update((item.rowid, item) for item in page)
        after = page[-1].rowid
    return found


def deal_folds(related: Related, folds: int, seed: int) -> Rows:
    """Deal what is never parted to folds, that of each label in turn, in an order drawn by a hash of names.

    Returns:
        The fold of each item, shape (n,).

    Raises:
        InvalidTrainingData: if there is less to deal than folds.
    """
    if len(related.unit_names) < folds:
        raise InvalidTrainingData(
            f"{len(related.unit_names)} groups cannot be dealt to {folds} folds: expected one a fold at least"
        )
    label_of: dict[int, int] = {}
    for unit, label in zip(related.units.tolist(), related.relations.labels.tolist(), strict=True):
        label_of.setdefault(unit, label)
    drawn = {
        unit: hashlib.sha256(f"{seed}:{related.unit_names[unit]}".encode()).digest() for unit in label_of
    }
    dealt = sorted(label_of, key=lambda unit: (label_of[unit], drawn[unit]))
    if isinstance(related.relations, PairRelations):  # every item is its own label: nothing to spread
        dealt = sorted(label_of, key=lambda unit: drawn[unit])
    fold_of = {unit: place % folds for place, unit in enumerate(dealt)}
    return np.array([fold_of[unit] for unit in related.units.tolist()], np.int64)


def _digest(ids: Sequence[str], names: Sequence[str], relations: Relations) -> str:
    digest = hashlib.sha256()
    everything = np.arange(len(ids))
    for row, (id, name) in enumerate(zip(ids, names, strict=True)):
        together = relations.together(everything[row : row + 1], everything)
        digest.update(f"{id!r}{name!r}".encode() + np.packbits(together).tobytes())
    return digest.hexdigest()


def _relations(
    ws: Workspace, collection: str, items: Sequence[StoredItem], belonging: Belonging
) -> Relations:
    if belonging.pairs:
        return by_pairs([item.id for item in items], belonging.pairs)
    if belonging.target:
        return by_label(_target_values(ws, collection, [item.rowid for item in items], belonging.target))
    values = [item.attributes.get(belonging.labels) for item in items]
    if all(value is None for value in values):
        raise InvalidTrainingData(f"no item of {collection!r} here has the attribute {belonging.labels!r}")
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
