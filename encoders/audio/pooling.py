"""Which layers of a model make its own vector."""

import re

from retrieval.errors import InvalidInput


def pooled_layers(pooling: str, layers: int) -> list[int]:
    """Return the layers that a vector is the mean of.

    >>> pooled_layers("mean", 3), pooled_layers("last", 3), pooled_layers("layer:1", 3)
    ([0, 1, 2], [2], [1])

    Args:
        pooling: `mean` of all, `last`, or `layer:N` counted from 0, what enters the first layer.
        layers: how many there are.

    Raises:
        InvalidInput: if there is no such layer.
    """
    if pooling == "mean":
        return list(range(layers))
    if pooling == "last":
        return [layers - 1]
    found = re.fullmatch(r"layer:(\d{1,4})", str(pooling))
    if found and int(found[1]) < layers:
        return [int(found[1])]
    raise InvalidInput(
        f"pooling: expected mean, last or layer:0 to layer:{layers - 1}, got {pooling!r}", field="pooling"
    )
