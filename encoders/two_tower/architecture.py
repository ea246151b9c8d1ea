"""What a two-tower encoder is made of, in plain numbers, as its card keeps it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from encoders.fields import check_choice
from retrieval.errors import IncompatibleModel, InvalidInput

KIND = "two_tower"  # on the card: which loader
TowerKind: TypeAlias = Literal["mlp", "rnn", "gru"]
Side: TypeAlias = Literal["query", "item"]
SIDES: tuple[Side, Side] = ("query", "item")
MAX_WIDTH = 8192
MAX_LAYERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shape of both towers.

    `mlp`: mean of word vectors -> Linear -> ReLU -> Linear; with `hidden_dims` 0 one Linear only.
    `rnn`, `gru`: word vectors -> bidirectional recurrence -> last states -> Linear -> ReLU -> Linear.
    Both end in a unit vector.
    """

    tower: TowerKind = "mlp"
    rows: int  # of the word table
    word_dims: int
    hidden_dims: int
    layers: int = 1  # of the recurrence; the mlp has none
    dims: int
    shared: bool = True  # one tower for queries and items

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
            InvalidInput: naming the first field out of range.
        """
        check_choice(self, tower=TowerKind)
        lowest_hidden = 0 if self.tower == "mlp" else 1
        for name, low, high in (
            ("rows", 2, 1 << 24),
            ("word_dims", 1, MAX_WIDTH),
            ("hidden_dims", lowest_hidden, MAX_WIDTH),
            ("layers", 1, MAX_LAYERS),
            ("dims", 1, MAX_WIDTH),
        ):
            got = getattr(self, name)
            if not isinstance(got, int) or not low <= got <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {got!r}", field=name)

    @property
    def table_dims(self) -> int:
        """The width of the served table, which has the first layer folded in (mlp only)."""
        return self.hidden_dims or self.dims

    def to_card(self) -> dict[str, Any]:
        """Return what the card keeps under `architecture`."""
        return asdict(self)

    @classmethod
    def from_card(cls, values: Mapping[str, Any]) -> "Architecture":
        """Read a card's `architecture`.

        Raises:
            IncompatibleModel: if it is not one of ours.
        """
        try:
            return cls(**values)
        except (TypeError, InvalidInput) as error:
            raise IncompatibleModel("the card's architecture is not one of a two-tower encoder") from error
