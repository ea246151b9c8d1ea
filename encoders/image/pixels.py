"""Decoded pictures as what a model takes: normalised pixels on its device."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.media.specs import ImageSpec

if TYPE_CHECKING:
    from torch import Tensor, device, dtype


def image_spec(preprocessing: Mapping[str, Any]) -> ImageSpec:
    """Return how pictures are decoded, from an encoder card's `preprocessing`."""
    names = ("height", "width", "fit", "short_edge", "resample")
    return ImageSpec(**{name: preprocessing[name] for name in names})


class Normalisation:
    """Scales the colours 0 to 255 to what the model was trained with."""

    def __init__(self, preprocessing: Mapping[str, Any], where: "device", finely: "dtype") -> None:
        """Read `mean` and `std`, of colours from 0 to 1, from an encoder card's `preprocessing`."""
        import torch

        std = torch.tensor(preprocessing["std"], device=where)
        self._scale = (1 / (255 * std)).reshape(3, 1, 1)
        self._offset = (torch.tensor(preprocessing["mean"], device=where) / std).reshape(3, 1, 1)
        self._where, self._finely = where, finely

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> "Tensor":
        """Normalise pictures, or videos, of one shape.

        Args:
            pictures: n of shape (..., height, width, 3).

        Returns:
            Shape (n, ..., 3, height, width), laid out with the channels last.
        """
        import torch

        pixels = torch.from_numpy(np.stack(pictures)).to(self._where).movedim(-1, -3)
        return (pixels * self._scale - self._offset).to(self._finely)
