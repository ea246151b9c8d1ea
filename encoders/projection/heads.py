"""The trained part of a projection encoder in numpy: the same numbers as were trained, without torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from encoders.tensors import check_tensors
from encoders.vectors import unit_rows
from retrieval.errors import IncompatibleModel, InvalidInput

Floats: TypeAlias = NDArray[np.float32]

NORM_EPSILON = 1e-5  # as torch's LayerNorm


@dataclass(frozen=True, slots=True, kw_only=True)
class SideShape:
    """One side: what its backbone gives, and the kernel that looks at it, if there is one."""

    width: int  # of the backbone's vectors
    landmarks: int = 0  # vectors that others are compared with; 0 = no kernel
    rank: int = 0  # what is kept of the likenesses
    gamma: float = 0.0  # how fast likeness falls with distance

    @property
    def read_width(self) -> int:
        """What the linear map reads."""
        return self.rank if self.landmarks else self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionShape:
    """The widths of a projection: of its two sides, and of the space that both meet in."""

    media: SideShape
    text: SideShape
    dims: int
    hidden: int = 0  # width of the hidden layer beside the linear one; 0 = none

    def __post_init__(self) -> None:
        """Check every width.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        told = {"media width": self.media.width, "text width": self.text.width, "dims": self.dims}
        for name, got in told.items():
            if got < 1:
                raise InvalidInput(f"{name}: expected at least 1, got {got}", field=name)
        if self.hidden < 0:
            raise InvalidInput(f"hidden: expected at least 0, got {self.hidden}", field="hidden")

    def side(self, name: str) -> SideShape:
        """Return the side "media" or "text"."""
        return self.media if name == "media" else self.text

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
            return cls(
                media=SideShape(**told["media"]),
                text=SideShape(**told["text"]),
                dims=int(told["dims"]),
                hidden=int(told["hidden"]),
            )
        except (KeyError, TypeError, ValueError, InvalidInput) as error:
            raise IncompatibleModel("the card tells of no projection") from error

    def tensors(self, side: str) -> dict[str, tuple[int, ...]]:
        """Return the tensors of a side with their shapes."""
        own = self.side(side)
        width = own.read_width
        shapes: dict[str, tuple[int, ...]] = {
            "linear.weight": (self.dims, width),
            "linear.bias": (self.dims,),
        }
        if own.landmarks:
            shapes |= {
                "kernel.landmarks": (own.landmarks, own.width),
                "kernel.whitening": (own.rank, own.landmarks),
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


@dataclass(frozen=True, slots=True)
class KernelMap:
    """Likenesses to landmarks, exp(-gamma * distance squared), decorrelated: a Gaussian kernel's features.

    Source: Williams and Seeger 2001, "Using the Nystroem method to speed up kernel machines".
    """

    landmarks: Floats | NDArray[np.float64]  # unit rows, (landmarks, width)
    whitening: Floats | NDArray[np.float64]  # (rank, landmarks)
    gamma: float

    def __call__(self, vectors: Floats) -> Floats:
        """Map unit rows, shape (n, width), to features, shape (n, rank)."""
        # In double precision, as small likenesses are made large: a batch of another size rounds otherwise.
        likeness = np.exp(2 * self.gamma * (vectors.astype(np.float64) @ self.landmarks.T - 1))
        return np.asarray(likeness @ self.whitening.T, np.float32)


class Head:
    """One side: `linear(x) + out(relu(norm(hidden(x))))`, of length 1; x may come from a kernel."""

    def __init__(self, shape: ProjectionShape, side: str, tensors: Mapping[str, Floats]) -> None:
        """Check the tensors' shapes.

        Raises:
            CorruptArtifact: if one is missing or has another shape.
        """
        check_tensors("projection", tensors, shape.tensors(side))
        self._dims, self._hidden, own = shape.dims, shape.hidden, shape.side(side)
        self._kernel: KernelMap | None = None
        if own.landmarks:
            landmarks, whitening = (
                tensors[f"{side}.kernel.{name}"].astype(np.float64) for name in ("landmarks", "whitening")
            )
            self._kernel = KernelMap(landmarks, whitening, own.gamma)
        self._tensors = {name.removeprefix(f"{side}."): tensors[name] for name in shape.tensors(side)}

    def __call__(self, vectors: Floats) -> Floats:
        """Project unit rows of the backbone, shape (n, width), to unit rows, shape (n, dims).

        Raises:
            EncoderFault: if a vector comes out with NaN or infinity.
        """
        if not len(vectors):
            return np.zeros((0, self._dims), np.float32)
        if self._kernel is not None:
            vectors = self._kernel(vectors)
        tensors = self._tensors
        projected = vectors @ tensors["linear.weight"].T + tensors["linear.bias"]
        if self._hidden:
            hidden = vectors @ tensors["hidden.weight"].T + tensors["hidden.bias"]
            hidden -= hidden.mean(axis=1, keepdims=True)
            hidden /= np.sqrt(hidden.var(axis=1, keepdims=True) + NORM_EPSILON)
            hidden = np.maximum(hidden * tensors["norm.weight"] + tensors["norm.bias"], 0)
            projected += hidden @ tensors["out.weight"].T
        return unit_rows(projected.astype(np.float32, copy=False))
