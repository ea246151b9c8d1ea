"""A BERT-type transformer in torch: BERT, XLM-RoBERTa, DistilBERT and MPNet are this one.

Tokens of all texts lie in one row (see `packing`); t = tokens, n = texts, l = the longest, w = width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.text.architecture import RELATIVE_BUCKETS, Architecture
from encoders.text.packing import Packed, relative_buckets

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}


@dataclass(frozen=True, slots=True)
class Tokens:
    """A packed batch as tensors."""

    ids: Tensor  # (t,)
    places: Tensor  # (t,)
    slots: Tensor  # (t,)
    spread: Tensor  # (n, l)
    real: Tensor  # whether a slot holds a token, bool, (n, l)
    buckets: Tensor | None  # (l, l), of relative positions

    @classmethod
    def of(cls, packed: Packed, shape: Architecture, device: torch.device | None = None) -> "Tokens":
        """Take a packed batch to a device."""
        longest = packed.spread.shape[1]
        lengths = torch.from_numpy(packed.lengths).to(device)
        return cls(
            torch.from_numpy(packed.ids).to(device),
            torch.from_numpy(packed.places).to(device),
            torch.from_numpy(packed.slots).to(device),
            torch.from_numpy(packed.spread).to(device),
            torch.arange(longest, device=device)[None, :] < lengths[:, None],
            torch.from_numpy(relative_buckets(longest)).to(device) if shape.is_relative else None,
        )


class Linear(nn.Linear):
    """A matrix that may be of bfloat16 while what passes through stays float32."""

    def forward(self, input: Tensor) -> Tensor:
        """Multiply in the precision of the weights."""
        return super().forward(input.to(self.weight.dtype)).float()


class Layer(nn.Module):
    """Attention, then a wider layer on each token; both added to what came in, and normed."""

    def __init__(self, shape: Architecture, dropout: float) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.dropout = dropout
        self.activation = _ACTIVATIONS[shape.activation]
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.attended = Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, shape.norm_epsilon)
        self.inner = Linear(width, shape.inner_width)
        self.outer = Linear(shape.inner_width, width)
        self.norm = nn.LayerNorm(width, shape.norm_epsilon)

    def forward(self, x: Tensor, tokens: Tokens, bias: Tensor) -> Tensor:
        """Map (t, w) to (t, w); bias is added to the attention, (n or 1, heads or 1, l, l)."""
        x = self.attention_norm(x + self._drop(self._attend(x, tokens, bias)))
        inner = self.activation(self.inner(x))  # (t, inner width)
        normed: Tensor = self.norm(x + self._drop(self.outer(inner)))
        return normed

    def _attend(self, x: Tensor, tokens: Tokens, bias: Tensor) -> Tensor:
        n, longest = tokens.spread.shape
        query, key, value = (
            matrix(x)[tokens.spread].view(n, longest, self.heads, -1).transpose(1, 2)
            for matrix in (self.query, self.key, self.value)
        )  # (n, heads, l, w / heads)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=self.dropout if self.training else 0.0
        )
        rows = mixed.transpose(1, 2).reshape(n * longest, -1)[tokens.slots]  # (t, w)
        attended: Tensor = self.attended(rows)
        return attended

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


class Transformer(nn.Module):
    """Token ids to one vector a text."""

    def __init__(self, shape: Architecture, *, dropout: float = 0.0, token_types: int = 2) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = dropout
        self.words = nn.Parameter(torch.empty(shape.vocabulary, shape.width))
        self.positions = nn.Parameter(torch.empty(shape.positions, shape.width))
        if shape.has_token_types:
            self.token_types = nn.Parameter(torch.empty(token_types, shape.width))
        if shape.is_relative:
            self.relative = nn.Parameter(torch.empty(RELATIVE_BUCKETS, shape.heads))
        self.norm = nn.LayerNorm(shape.width, shape.norm_epsilon)
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))

    def forward(self, tokens: Tokens) -> Tensor:
        """Return vectors that are not yet of length one, (n, w)."""
        x = functional.embedding(tokens.ids, self.words)
        x = x + functional.embedding(tokens.places + self.shape.first_position, self.positions)
        if self.shape.has_token_types:
            x = x + self.token_types[0]
        x = functional.dropout(self.norm(x.float()), self.dropout, self.training)  # (t, w)
        bias = self._attention_bias(tokens)
        for layer in self.layers:
            x = layer(x, tokens, bias)
        if self.shape.pooling == "cls":
            return x[tokens.spread[:, 0]]
        return torch.where(tokens.real[:, :, None], x[tokens.spread], 0.0).sum(1)

    def _attention_bias(self, tokens: Tokens) -> Tensor:
        """Keep every token from looking at empty slots; shift it by distance where the model does."""
        bias = torch.where(tokens.real, 0.0, float("-inf"))[:, None, None, :]
        if tokens.buckets is not None:
            bias = bias + self.relative[tokens.buckets].permute(2, 0, 1)[None]
        return bias.float()


def load_transformer(
    shape: Architecture, tensors: Mapping[str, Tensor], *, dropout: float = 0.0
) -> Transformer:
    """Build a transformer of the tensors, by our names, which `find_tensors` has checked."""
    types = len(tensors["token_types"]) if shape.has_token_types else 0
    with torch.device("meta"):
        model = Transformer(shape, dropout=dropout, token_types=types)
    model.load_state_dict(dict(tensors), assign=True)
    return model.eval()
