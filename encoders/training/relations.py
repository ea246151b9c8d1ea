"""Which items belong together and which do not: from labels, from numbers, or from a list of pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InvalidTrainingData

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

RANGES = 5  # that numbers are parted into


class Relations(Protocol):
    """Tells of pairs of items, by their numbers."""

    @property
    def labels(self) -> Rows:
        """What batches are balanced over, and folds spread evenly: a number an item, shape (n,)."""
        ...

    def together(self, rows: Rows, columns: Rows) -> Mask:
        """Tell which pairs belong together, shape (rows, columns)."""
        ...

    def apart(self, rows: Rows, columns: Rows) -> Mask:
        """Tell which pairs do not, shape (rows, columns); a pair may be neither."""
        ...


@dataclass(frozen=True, slots=True)
class LabelRelations:
    """Same label: together; different labels: apart; no label (-1): neither. Names are for people."""

    labels: Rows
    names: Sequence[str]

    def together(self, rows: Rows, columns: Rows) -> Mask:
        """As `Relations` says."""
        left, right = self.labels[rows][:, None], self.labels[columns][None]
        return np.asarray((left == right) & (left >= 0))

    def apart(self, rows: Rows, columns: Rows) -> Mask:
        """As `Relations` says."""
        left, right = self.labels[rows][:, None], self.labels[columns][None]
        return np.asarray((left != right) & (left >= 0) & (right >= 0))


@dataclass(frozen=True, slots=True)
class PairRelations:
    """Listed pairs belong together; of the others, those that both occur in the list are apart."""

    neighbours: Sequence[frozenset[int]]

    @property
    def labels(self) -> Rows:
        """Every item for itself."""
        return np.arange(len(self.neighbours))

    def together(self, rows: Rows, columns: Rows) -> Mask:
        """As `Relations` says."""
        mask = np.zeros((len(rows), len(columns)), np.bool_)
        places = {int(column): place for place, column in enumerate(columns)}
        for row, item in enumerate(rows):
            mask[row, [places[other] for other in self.neighbours[item] if other in places]] = True
        return mask

    def apart(self, rows: Rows, columns: Rows) -> Mask:
        """As `Relations` says."""
        known = np.array([bool(own) for own in self.neighbours])
        return np.asarray(known[rows][:, None] & known[columns][None] & ~self.together(rows, columns))


def by_label(values: Sequence[object]) -> LabelRelations:
    """Relate items by an attribute: the same text, or the same range of numbers.

    Numbers are parted into ranges that hold about as many items each. None is no label.

    >>> by_label(["bach", None, "ravel", "bach"]).labels.tolist()
    [0, -1, 1, 0]
    >>> by_label([60, 61, 90, 91, 120, 121, 150, 151, 180, 181]).names
    ['60 to 61', '90 to 91', '120 to 121', '150 to 151', '180 to 181']
    """
    told = [value for value in values if value is not None]
    if told and all(isinstance(value, int | float) and not isinstance(value, bool) for value in told):
        return _by_range(np.array([np.nan if value is None else value for value in values], np.float64))
    names = sorted({str(value) for value in told})
    numbers = {name: number for number, name in enumerate(names)}
    labels = [-1 if value is None else numbers[str(value)] for value in values]
    return LabelRelations(np.array(labels, np.int64), names)


def _by_range(values: NDArray[np.float64]) -> LabelRelations:
    told = values[~np.isnan(values)]
    edges = np.unique(np.quantile(told, np.linspace(0, 1, RANGES + 1)[1:-1]))
    labels = np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right"))
    _, dense = np.unique(labels[labels >= 0], return_inverse=True)
    labels[labels >= 0] = dense
    bounds = [(values[labels == n].min(), values[labels == n].max()) for n in range(dense.max() + 1)]
    return LabelRelations(labels.astype(np.int64), [f"{low:g} to {high:g}" for low, high in bounds])


def by_pairs(ids: Sequence[str], pairs: Sequence[tuple[str, str]]) -> PairRelations:
    """Relate items by a list of pairs of their ids, in either order.

    Raises:
        InvalidTrainingData: if a pair names an item that is not there, or one item twice.
    """
    numbers = {id: number for number, id in enumerate(ids)}
    neighbours: list[set[int]] = [set() for _ in ids]
    for left, right in pairs:
        for id in (left, right):
            if id not in numbers:
                raise InvalidTrainingData(f"pairs: there is no item {id!r} with features", missing=id)
        if left == right:
            raise InvalidTrainingData(f"pairs: expected two items, got {left!r} twice")
        neighbours[numbers[left]].add(numbers[right])
        neighbours[numbers[right]].add(numbers[left])
    return PairRelations([frozenset(own) for own in neighbours])


def never_parted(groups: Rows, relations: Relations) -> Rows:
    """Number what folds may not part: the groups, and with pairs, the groups that pairs join."""
    first: dict[int, int] = {}
    parent = list(range(len(groups)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for item, group in enumerate(groups.tolist()):
        parent[root(item)] = root(first.setdefault(group, item))
    if isinstance(relations, PairRelations):
        for item, own in enumerate(relations.neighbours):
            for other in own:
                parent[root(item)] = root(other)
    return np.unique([root(item) for item in range(len(groups))], return_inverse=True)[1].astype(np.int64)


def singletons(relations: Relations, groups: Rows) -> list[int]:
    """List the items that belong together with none of another group: they have no positive to learn from."""
    everything = np.arange(len(groups))
    return [
        item
        for item in range(len(groups))
        if not (
            relations.together(everything[item : item + 1], everything)[0] & (groups != groups[item])
        ).any()
    ]
