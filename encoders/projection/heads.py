"""The trained part of a projection encoder in numpy: the same numbers as were trained, without torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from encoders.vectors import unit_rows
from retrieval.errors import CorruptArtifact, IncompatibleModel, InvalidInput

Floats: TypeAlias = NDArray[np.float32]

NORM_EPSILON = 1e-5  # as torch's LayerNorm


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionShape:
    """The widths of a projection: of what the two backbones give, and of the space that both meet in."""

    media_width: int
    text_width: int
    dims: int
    hidden: int = 0  # width of the hidden layer beside the linear one; 0 = none

    def __post_init__(self) -> None:
        """Check every width.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        for name, lowest in {"media_width": 1, "text_width": 1, "dims": 1, "hidden": 0}.items():
            if getattr(self, name) < lowest:
                raise InvalidInput(
                    f"{name}: expected at least {lowest}, got {getattr(self, name)}", field=name
                )

    def to_card(self) -> dict[str, Any]:
        """Return what the card says of it."""
        return asdict(self)

    @classmethod
    def from_card(cls, told: Mapping[str, Any]) -> "ProjectionShape":
        """Read it from a card's `architecture`.

        Raises:
            IncompatibleModel: if the card tells of no projection.
        """
        try:
            return cls(**{name: int(told[name]) for name in cls.__slots__})
        except (KeyError, TypeError, ValueError, InvalidInput) as error:
            raise IncompatibleModel("the card tells of no projection") from error

    def tensors(self, side: str) -> dict[str, tuple[int, ...]]:
        """Return the tensors of a side, "media" or "text", with their shapes."""
        width = self.media_width if side == "media" else self.text_width
        shapes: dict[str, tuple[int, ...]] = {
            "linear.weight": (self.dims, width),
            "linear.bias": (self.dims,),
        }
        if self.hidden:
            shapes |= {
                "hidden.weight": (self.hidden, width),
                "hidden.bias": (self.hidden,),
                "norm.weight": (self.hidden,),
                "norm.bias": (self.hidden,),
                "out.weight": (self.dims, self.hidden),
            }
        return {f"{side}.{name}": shape for name, shape in shapes.items()}


class Head:
    """One side: `linear(x) + out(relu(norm(hidden(x))))`, of length 1."""

    def __init__(self, shape: ProjectionShape, side: str, tensors: Mapping[str, Floats]) -> None:
        """Check the tensors' shapes.

        Raises:
            CorruptArtifact: if one is missing or has another shape.
        """
        for name, expected in shape.tensors(side).items():
            if name not in tensors or tensors[name].shape != expected:
                got = tensors[name].shape if name in tensors else None
                raise CorruptArtifact(f"projection: {name}: expected shape {expected}, got {got}")
        self._dims, self._hidden = shape.dims, shape.hidden
        self._tensors = {name.removeprefix(f"{side}."): tensors[name] for name in shape.tensors(side)}

    def __call__(self, vectors: Floats) -> Floats:
        """Project unit rows of the backbone, shape (n, width), to unit rows, shape (n, dims).

        Raises:
            EncoderFault: if a vector comes out with NaN or infinity.
        """
        if not len(vectors):
            return np.zeros((0, self._dims), np.float32)
        tensors = self._tensors
        projected = vectors @ tensors["linear.weight"].T + tensors["linear.bias"]
        if self._hidden:
            hidden = vectors @ tensors["hidden.weight"].T + tensors["hidden.bias"]
            hidden -= hidden.mean(axis=1, keepdims=True)
            hidden /= np.sqrt(hidden.var(axis=1, keepdims=True) + NORM_EPSILON)
            hidden = np.maximum(hidden * tensors["norm.weight"] + tensors["norm.bias"], 0)
            projected += hidden @ tensors["out.weight"].T
        return unit_rows(projected.astype(np.float32, copy=False))
