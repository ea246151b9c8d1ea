"""Pairs of media and captions: what a projection is trained on, and which of them are held out."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.content import Modality
from retrieval.embeddings import read_embeddings
from retrieval.errors import InvalidTrainingData, ModelNotFound
from retrieval.items import StoredItem, list_items
from retrieval.segments import locate
from retrieval.workspace import Workspace

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

PARTS = ("train", "validation", "test")
MIN_PAIRS = 10
_PAGE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSource:
    """Which items of a collection are pairs, and which of them belong together."""

    modality: Modality  # of the media
    text_attribute: str = ""  # that holds the caption; empty = the item's own text
    group_by: str = ""  # an attribute whose equal values are never parted; empty = each item for itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Media and their captions, n pairs."""

    ids: Sequence[str]
    media: Floats  # what the media backbone makes of them: unit rows, shape (n, width)
    captions: Sequence[str]  # the distinct ones
    caption_of: Rows  # (n,): the caption of each medium
    groups: Rows  # (n,): groups that are never parted
    group_names: Sequence[str]  # by number
    without_caption: int  # media that have none
    digest: str  # sha256 over all of it


def read_pairs(ws: Workspace, collection: str, fingerprint: str, source: PairSource) -> Pairs:
    """Read the pairs of a collection whose media have a vector of the media backbone.

    Args:
        ws: the workspace.
        collection: its name.
        fingerprint: of the media backbone.
        source: which items are pairs.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidTrainingData: if there are too few pairs to learn from.
    """
    vectors = media_vectors(ws, collection, fingerprint)
    items = [item for item in all_items(ws, collection) if item.modality is source.modality]
    told = [item for item in items if caption(item, source.text_attribute)]
    held = [item for item in told if item.rowid in vectors]
    if len(held) < MIN_PAIRS:
        raise InvalidTrainingData(
            f"collection {collection!r} has {len(items)} {source.modality} items, {len(told)} of them with a"
            f" caption and {len(held)} of these with a vector of the media encoder; expected at least"
            f" {MIN_PAIRS}: import captions (a metadata.csv with a text column), or name the attribute that"
            " holds them"
        )
    media = np.stack([vectors[item.rowid] for item in held])
    captions = [caption(item, source.text_attribute) for item in held]
    distinct = {text: number for number, text in enumerate(dict.fromkeys(captions))}
    named = [str(item.attributes.get(source.group_by, f"item {item.id}")) for item in held]
    groups = joined(named, [text.casefold() for text in captions], _pictures(held, media))
    digest = hashlib.sha256(media.tobytes())
    for item, text, name in zip(held, captions, named, strict=True):
        digest.update(f"{item.id!r}{text!r}{name!r}".encode())
    return Pairs(
        ids=[item.id for item in held],
        media=media,
        captions=list(distinct),
        caption_of=np.array([distinct[text] for text in captions], np.int64),
        groups=groups,
        group_names=group_names(groups, [item.id for item in held]),
        without_caption=len(items) - len(told),
        digest=digest.hexdigest(),
    )


def all_items(ws: Workspace, collection: str) -> list[StoredItem]:
    """List every item of a collection."""
    found: list[StoredItem] = []
    while page := list_items(ws, collection, after_rowid=found[-1].rowid if found else 0, limit=_PAGE):
        found += page
    return found


def caption(item: StoredItem, attribute: str) -> str:
    """Return what tells what a medium shows, with single blanks; empty if nothing does."""
    told = item.attributes.get(attribute) if attribute else item.text
    if isinstance(told, list | tuple):
        told = ", ".join(str(part) for part in told)
    return "" if told is None else " ".join(str(told).split())


def media_vectors(ws: Workspace, collection: str, fingerprint: str) -> dict[int, Floats]:
    """Return an encoder's vector of each item, by its rowid: of the whole, or the mean of its windows."""
    whole: dict[int, Floats] = {}
    sums: dict[int, Floats] = {}
    try:
        for keys, vectors in read_embeddings(ws, collection, fingerprint):
            rows = locate(ws, collection, keys)
            for key, vector in zip(keys.tolist(), vectors, strict=True):
                row = rows[key]
                if row.start is None:
                    whole[row.item_rowid] = vector
                else:
                    sums[row.item_rowid] = sums.get(row.item_rowid, 0) + vector
    except ModelNotFound:
        return {}
    means = {item: total / np.linalg.norm(total) for item, total in sums.items() if item not in whole}
    return whole | means


def _pictures(items: Sequence[StoredItem], media: Floats) -> list[str]:
    """Name what media show, so that the same file twice, or the same vector, has one name."""
    return [
        str(item.attributes.get("sha256") or hashlib.sha256(vector.tobytes()).hexdigest())
        for item, vector in zip(items, media, strict=True)
    ]


def joined(*labels: Sequence[str]) -> Rows:
    """Number the groups that items form which share a label of any kind, directly or through others.

    >>> joined(["a", "b", "c", "d"], ["x", "y", "x", "z"], ["1", "2", "3", "2"]).tolist()
    [0, 1, 0, 1]
    """
    parent = list(range(len(labels[0])))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for kind in labels:
        first: dict[str, int] = {}
        for item, label in enumerate(kind):
            parent[root(item)] = root(first.setdefault(label, item))
    return np.unique([root(item) for item in range(len(parent))], return_inverse=True)[1].astype(np.int64)


def deal_parts(
    groups: Rows, names: Sequence[str], *, test: float, validation: float, seed: int
) -> Mapping[str, Rows]:
    """Deal whole groups to the parts: to test and validation until they have their share, the rest trains.

    The order is drawn from the names of the groups, so that an item more moves few others.

    Args:
        groups: of the items, by number, shape (n,).
        names: of the groups, by number.
        test: the share of the items that is held out.
        validation: the share of the items that tells when to stop.
        seed: another one, other parts.

    Returns:
        By part, the numbers of its items, ascending.

    Raises:
        InvalidTrainingData: if a part would be empty.
    """
    drawn = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names]
    sizes = np.bincount(groups)
    part_of = np.zeros(len(sizes), np.int64)
    dealt, tested = 0, round(test * len(groups))
    held = tested + round(validation * len(groups))
    for group in sorted(range(len(sizes)), key=drawn.__getitem__):
        if dealt >= held:
            break
        part_of[group] = PARTS.index("test" if dealt < tested else "validation")
        dealt += sizes[group]
    parts = {name: np.flatnonzero(part_of[groups] == number) for number, name in enumerate(PARTS)}
    if min(map(len, parts.values())) < 2:
        raise InvalidTrainingData(
            f"{len(groups)} items in {len(sizes)} groups cannot be parted into train, validation and test:"
            " group by something finer, or add items"
        )
    return parts


def group_names(groups: Rows, ids: Sequence[str]) -> list[str]:
    """Name every group by the first of its items' ids."""
    names: dict[int, str] = {}
    for group, id in sorted(zip(groups.tolist(), ids, strict=True)):
        names.setdefault(group, id)
    return [names[group] for group in range(len(names))]
