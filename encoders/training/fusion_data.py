"""What a layer fusion is trained on: stored features by item, and which items belong together."""

import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from encoders.training.belonging import Belonging, Related, items_by_rowid, relate
from retrieval.errors import InvalidTrainingData, ModelNotFound
from retrieval.features import read_features
from retrieval.segments import locate
from retrieval.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionData(Related):
    """The features of items, and what is known of them."""

    features: NDArray[np.float32]  # (n, layers, width): the mean over an item's segments


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
    items = items_by_rowid(ws, collection)
    related = relate(ws, collection, [items[rowid] for rowid in rowids], belonging)
    told = {one.name: getattr(related, one.name) for one in fields(Related)}
    told["digest"] = hashlib.sha256(related.digest.encode() + features.tobytes()).hexdigest()
    return FusionData(features=features, **told)


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
