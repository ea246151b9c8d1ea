"""What a layer fusion looks like: how it mixes layers, and what it makes of the mixture."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from encoders.fields import check_above_zero, check_choice
from retrieval.errors import IncompatibleModel, InvalidInput

KIND = "layer_fusion"
TENSORS_FILE = "fusion.safetensors"
BACKBONE = "backbone"  # the folder that holds the frozen model, whole

# attention: weights that depend on the sound. weights: one learned weight a layer. mlp: no mixture, the head
# reads all layers. average, layer: nothing to learn about the layers; with a siamese head, a learned metric.
FusionKind: TypeAlias = Literal["attention", "weights", "mlp", "average", "layer"]
# linear: width -> dims. siamese: width -> hidden -> ReLU -> dims.
HeadKind: TypeAlias = Literal["linear", "siamese"]

DIMS = 256
ATTENTION_WIDTH = 128
HIDDEN_WIDTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionShape:
    """Everything that tells how the tensors of a layer fusion fit together."""

    layers: int
    width: int
    fusion: FusionKind = "attention"
    head: HeadKind = "linear"
    dims: int = DIMS
    layer: int = 0  # which one, for `layer`
    attention_width: int = ATTENTION_WIDTH
    hidden_width: int = HIDDEN_WIDTH

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        check_choice(self, fusion=FusionKind, head=HeadKind)
        check_above_zero(self, "layers", "width", "dims", "attention_width", "hidden_width")
        if not 0 <= self.layer < self.layers:
            raise InvalidInput(f"layer: expected 0 to {self.layers - 1}, got {self.layer}", field="layer")

    @property
    def mixed_width(self) -> int:
        """The width of what the head reads."""
        return self.layers * self.width if self.fusion == "mlp" else self.width

    @property
    def hidden(self) -> bool:
        """Whether the head has a hidden layer."""
        return self.head == "siamese" or self.fusion == "mlp"

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name the tensors and their shapes."""
        layered = (self.layers, self.width)
        shapes: dict[str, tuple[int, ...]] = {"mean": layered, "scale": layered}
        if self.fusion == "attention":
            shapes |= {
                "attention.0.weight": (self.attention_width, self.width),
                "attention.0.bias": (self.attention_width,),
                "attention.2.weight": (1, self.attention_width),
                "attention.2.bias": (1,),
            }
        if self.fusion == "weights":
            shapes["logits"] = (self.layers,)
        widths = [self.mixed_width, *([self.hidden_width] if self.hidden else []), self.dims]
        for place, (narrow, wide) in enumerate(zip(widths[1:], widths[:-1], strict=True)):
            shapes |= {f"head.{2 * place}.weight": (narrow, wide), f"head.{2 * place}.bias": (narrow,)}
        return shapes

    def to_card(self) -> dict[str, Any]:
        """Return the fields for the card."""
        return asdict(self)

    @classmethod
    def from_card(cls, told: Mapping[str, Any]) -> "FusionShape":
        """Read the fields of a card; others are ignored.

        Raises:
            IncompatibleModel: if they are not what is expected.
        """
        try:
            return cls(**{name: told[name] for name in cls.__slots__})
        except (KeyError, TypeError, InvalidInput) as error:
            raise IncompatibleModel(f"not the architecture of a layer fusion: {error}") from error
