"""Splitting rows into folds by group: no recording, or work, is both learned from and asked about."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InvalidInput

FOLDS = 5
SEED = 42

Rows: TypeAlias = NDArray[np.int64]
Fold: TypeAlias = tuple[Rows, Rows]  # those to learn from, those to ask about


def number_groups(names: Sequence[str]) -> Rows:
    """Number groups by their names' order, so that the order of the rows changes no fold.

    >>> number_groups(["b", "a", "b"]).tolist()
    [1, 0, 1]
    """
    return np.unique(np.array(names, dtype=np.str_), return_inverse=True)[1].astype(np.int64)


def folds_of(groups: Rows, *, seed: int = SEED) -> list[Fold]:
    """Split by group, in FOLDS folds of as many groups each.

    The groups are shuffled as scikit-learn's `KFold(FOLDS, shuffle=True, random_state=seed)` shuffles.

    Args:
        groups: the group's number of each row, shape (n,).
        seed: of the shuffle.

    Raises:
        InvalidInput: if there are fewer groups than folds.
    """
    names = np.unique(groups)
    if len(names) < FOLDS:
        raise InvalidInput(
            f"probing splits by group into {FOLDS} folds: expected {FOLDS} groups at least, got {len(names)}"
        )
    order = np.arange(len(names))
    np.random.RandomState(seed).shuffle(order)
    asked = [np.isin(groups, names[np.sort(part)]) for part in np.array_split(order, FOLDS)]
    return [(np.flatnonzero(~mask), np.flatnonzero(mask)) for mask in asked]


def learned_rows(groups: Rows, seed: int, held_out: float) -> NDArray[np.bool_]:
    """Choose the rows to learn from, shape (n,); the groups of the others are held out.

    At least one group is learned from, and, where there are two, at least one is held out.
    """
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    count = min(max(1, round(len(names) * held_out)), len(names) - 1)
    return np.isin(groups, names[count:])
