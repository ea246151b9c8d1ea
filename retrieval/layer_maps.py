"""Which layers of a frozen model know which aspect of a content: found by probing, used by searches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import FailedPrecondition, InvalidInput
from retrieval.workspace import Workspace

RUN_KIND = "probe"
MAX_WEIGHT = 1e6

Weights = NDArray[np.float64]


class NotProbed(FailedPrecondition):
    """No probing has told yet which layers know what."""

    reason = "NOT_PROBED"


class AspectUnknown(FailedPrecondition):
    """No layer of the encoder predicts an aspect better than the mean does."""

    reason = "ASPECT_UNKNOWN"


@dataclass(frozen=True, slots=True)
class LayerMap:
    """What the newest probing of a collection's features told."""

    run: int  # its id
    aspects: Mapping[str, Weights]  # of each layer, shape (layers,): they sum to 1, or are all 0

    def weights(self, wanted: Mapping[str, float]) -> Weights:
        """Mix the layers for several aspects, each with a weight of its own.

        Returns:
            A weight for each layer, shape (layers,), which sum to 1.

        Raises:
            InvalidInput: if an aspect does not exist, or a weight is not above 0.
            AspectUnknown: if no layer knows one of them.
        """
        total = 0.0
        mixed = np.zeros(0)
        for aspect, weight in wanted.items():
            if aspect not in self.aspects:
                raise InvalidInput(
                    f"aspects: expected some of {', '.join(self.aspects)}; got {aspect[:80]!r}",
                    field="aspects",
                )
            if not 0 < weight <= MAX_WEIGHT:
                raise InvalidInput(
                    f"aspects[{aspect!r}]: expected above 0, at most {MAX_WEIGHT:g}, got {weight:g}",
                    field="aspects",
                )
            layers = self.aspects[aspect]
            if not layers.any():
                raise AspectUnknown(
                    f"no layer of the encoder knows {aspect!r}: probing predicted it no better than its mean"
                )
            mixed = weight * layers + (mixed if len(mixed) else 0)
            total += weight
        return mixed / total


def find_layer_map(ws: Workspace, collection: str, features: str) -> LayerMap:
    """Return what the newest probing of a collection found.

    Args:
        ws: the workspace.
        collection: that was probed.
        features: the fingerprint of the frozen model.

    Raises:
        NotProbed: if it never was.
    """
    rows = ws.fetch(
        "SELECT rowid, json_extract(artifacts, '$.aspects') FROM runs"
        " WHERE kind = ? AND collection = ? AND json_extract(config, '$.fingerprint') = ?"
        " AND json_extract(artifacts, '$.aspects') IS NOT NULL ORDER BY rowid DESC LIMIT 1",
        (RUN_KIND, collection, features),
    )
    if not rows:
        raise NotProbed(
            f"nobody knows yet which layers know what in {collection!r}:"
            f" run `twinspire probe {collection} --features ENCODER`"
        )
    run, aspects = rows[0]
    return LayerMap(run, {name: np.array(layers) for name, layers in json.loads(aspects).items()})
