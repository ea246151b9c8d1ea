"""What a modality fusion is made of: a part for each modality, and how the parts become one vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from encoders.fields import check_above_zero, check_choice
from retrieval.content import Modality
from retrieval.errors import IncompatibleModel, InvalidInput

KIND = "modality_fusion"
TENSORS_FILE = "fusion.safetensors"
NORM_EPSILON = 1e-5  # as torch's LayerNorm

Strategy: TypeAlias = Literal["concat", "sum", "max", "gated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityFusionShape:
    """The parts, in order, and the widths.

    Every part is mapped to `dims` and normalised. `concat` maps all of them side by side to `dims` again,
    `sum` adds, `max` takes the largest of each number, and `gated` adds them weighted by shares that depend
    on all of them. A part that is missing is left out: it adds nothing, and has no share.
    """

    parts: tuple[tuple[Modality, int], ...]  # modality and width of its encoder's vectors
    dims: int
    strategy: Strategy = "gated"
    gate_hidden: int = 128

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        check_choice(self, strategy=Strategy)
        if len({modality for modality, _ in self.parts}) < max(2, len(self.parts)):
            raise InvalidInput("expected two modalities or more, each once", field="parts")
        check_above_zero(self, "dims", "gate_hidden")

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Of the parts, in order."""
        return tuple(modality for modality, _ in self.parts)

    def to_card(self) -> dict[str, Any]:
        """Return what the card says of it."""
        return {
            "parts": [[modality.value, width] for modality, width in self.parts],
            "dims": self.dims,
            "strategy": self.strategy,
            "gate_hidden": self.gate_hidden,
        }

    @classmethod
    def from_card(cls, told: Mapping[str, Any]) -> "ModalityFusionShape":
        """Read it from a card's `architecture`.

        Raises:
            IncompatibleModel: if the card tells of no modality fusion.
        """
        try:
            return cls(
                parts=tuple((Modality(modality), int(width)) for modality, width in told["parts"]),
                dims=int(told["dims"]),
                strategy=told["strategy"],
                gate_hidden=int(told["gate_hidden"]),
            )
        except (KeyError, TypeError, ValueError, InvalidInput) as error:
            raise IncompatibleModel("the card tells of no modality fusion") from error

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the tensors."""
        shapes: dict[str, tuple[int, ...]] = {}
        for modality, width in self.parts:
            shapes |= {
                f"{modality}.linear.weight": (self.dims, width),
                f"{modality}.linear.bias": (self.dims,),
                f"{modality}.norm.weight": (self.dims,),
                f"{modality}.norm.bias": (self.dims,),
            }
        count = len(self.parts)
        if self.strategy == "concat":
            shapes["mix.weight"] = (self.dims, count * self.dims)
        if self.strategy == "gated":
            shapes |= {
                "gate.0.weight": (self.gate_hidden, count * self.dims + count),
                "gate.0.bias": (self.gate_hidden,),
                "gate.2.weight": (count, self.gate_hidden),
                "gate.2.bias": (count,),
            }
        return shapes
