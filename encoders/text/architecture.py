"""The shape of a BERT-type transformer, from its publisher's config to our card and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from retrieval.errors import IncompatibleModel, UnreadableSource

KIND = "text"

ModelType: TypeAlias = Literal["bert", "distilbert", "mpnet", "xlm-roberta"]
Pooling: TypeAlias = Literal["mean", "cls"]
Side: TypeAlias = Literal["query", "item"]

MODEL_TYPES: tuple[ModelType, ...] = ("bert", "distilbert", "mpnet", "xlm-roberta")
ACTIVATIONS = ("gelu", "relu")
RELATIVE_BUCKETS = 32  # MPNet's relative_attention_num_buckets
RELATIVE_MAX_DISTANCE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Plain numbers that say how the weights are put together."""

    model_type: ModelType
    vocabulary: int
    width: int
    layers: int
    heads: int
    inner_width: int
    positions: int  # rows of the position table
    first_position: int  # the row of the first token
    activation: str
    norm_epsilon: float
    pooling: Pooling
    shared: bool = True  # one transformer for queries and items

    @property
    def max_tokens(self) -> int:
        """How many tokens have a position."""
        return self.positions - self.first_position

    @property
    def has_token_types(self) -> bool:
        """Whether a row of a table of token types is added to every token."""
        return self.model_type in ("bert", "xlm-roberta")

    @property
    def is_relative(self) -> bool:
        """Whether the distance of two tokens shifts their attention."""
        return self.model_type == "mpnet"

    @classmethod
    def from_config(cls, config: Mapping[str, Any], pooling: Pooling) -> "Architecture":
        """Read transformers' config.json.

        Raises:
            UnreadableSource: if a number is missing.
            IncompatibleModel: if the model has parts that are not served here.
        """
        kind = config.get("model_type")
        distil = kind == "distilbert"
        if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
            raise IncompatibleModel(f"a {kind} with relative positions, or a decoder, is not served")
        try:
            shape = cls(
                model_type=config["model_type"],
                vocabulary=int(config["vocab_size"]),
                width=int(config["dim" if distil else "hidden_size"]),
                layers=int(config["n_layers" if distil else "num_hidden_layers"]),
                heads=int(config["n_heads" if distil else "num_attention_heads"]),
                inner_width=int(config["hidden_dim" if distil else "intermediate_size"]),
                positions=int(config["max_position_embeddings"]),
                first_position=_first_position(config),
                activation=str(config["activation" if distil else "hidden_act"]),
                norm_epsilon=1e-12 if distil else float(config["layer_norm_eps"]),
                pooling=pooling,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableSource(f"config.json lacks {error} of a {kind} model") from error
        shape.check()
        return shape

    def check(self) -> None:
        """Raise IncompatibleModel if this is no transformer that we can build."""
        numbers = (self.vocabulary, self.width, self.layers, self.heads, self.inner_width, self.max_tokens)
        if self.model_type not in MODEL_TYPES or min(numbers) < 1 or self.width % self.heads:
            raise IncompatibleModel(f"no {self.model_type} transformer has {numbers} as its numbers")
        if self.activation not in ACTIVATIONS:
            raise IncompatibleModel(
                f"the activation {self.activation!r} is not served; expected {' or '.join(ACTIVATIONS)}"
            )

    @classmethod
    def from_card(cls, values: Mapping[str, Any]) -> "Architecture":
        """Read what `to_card` wrote.

        Raises:
            IncompatibleModel: if it is nothing that we can build.
        """
        try:
            shape = cls(**values)
            shape.check()
        except TypeError as error:
            raise IncompatibleModel("the card's architecture is not that of a text transformer") from error
        return shape

    def to_card(self) -> dict[str, Any]:
        """Return the plain numbers."""
        return asdict(self)


def _first_position(config: Mapping[str, Any]) -> int:
    """RoBERTa's heirs count positions from behind the padding token's id."""
    if config["model_type"] in ("xlm-roberta", "mpnet"):
        return int(config.get("pad_token_id", 1)) + 1
    return 0
