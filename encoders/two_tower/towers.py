"""The towers as torch modules: for training, and for serving the recurrent ones."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, normalize
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from encoders.two_tower.architecture import Architecture, Side
from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.vocabulary import PADDING_ROW


class Texts(NamedTuple):
    """Several texts as table rows, one after the other."""

    rows: Tensor  # all rows, int64, shape (total,)
    starts: Tensor  # where each text begins, and the end of the last, int64, shape (texts + 1,)

    @classmethod
    def of(cls, texts: RaggedTexts) -> "Texts":
        """Hand texts to torch."""
        return cls(torch.from_numpy(texts.rows.astype(np.int64)), torch.from_numpy(texts.starts))

    def padded(self) -> Tensor:
        """Return the rows as a rectangle, shape (texts, longest)."""
        texts = torch.split(self.rows, self.starts.diff().tolist())
        return pad_sequence(list(texts), batch_first=True, padding_value=PADDING_ROW)


class MlpTower(nn.Module):
    """Mean of word vectors -> Linear -> ReLU -> Linear; or one Linear if there is no hidden layer."""

    def __init__(self, shape: Architecture, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            [nn.Linear(shape.word_dims, shape.hidden_dims), nn.Linear(shape.hidden_dims, shape.dims)]
            if shape.hidden_dims
            else [nn.Linear(shape.word_dims, shape.dims)]
        )

    def forward(self, table: Tensor, texts: Texts) -> Tensor:
        """Encode texts, shape (texts, dims), not yet of unit length."""
        hidden: Tensor = embedding_bag(texts.rows, table, texts.starts, mode="mean", include_last_offset=True)
        hidden = self.layers[0](hidden)
        if len(self.layers) == 1:
            return hidden
        output: Tensor = self.layers[1](self.dropout(hidden.relu()))
        return output


class RecurrentTower(nn.Module):
    """Word vectors -> bidirectional recurrence -> both last states -> Linear -> ReLU -> Linear."""

    def __init__(self, shape: Architecture, dropout: float) -> None:
        super().__init__()
        kind = nn.GRU if shape.tower == "gru" else nn.RNN
        self.recurrence = kind(
            shape.word_dims,
            shape.hidden_dims,
            shape.layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if shape.layers > 1 else 0.0,
        )
        self.projection = nn.Sequential(
            nn.Linear(2 * shape.hidden_dims, shape.hidden_dims),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(shape.hidden_dims, shape.dims),
        )

    def forward(self, table: Tensor, texts: Texts) -> Tensor:
        """Encode texts, shape (texts, dims), not yet of unit length."""
        words = nn.functional.embedding(texts.padded(), table)  # (texts, longest, word_dims)
        packed = pack_padded_sequence(words, texts.starts.diff(), batch_first=True, enforce_sorted=False)
        _, states = self.recurrence(packed)  # (layers * 2, texts, hidden)
        output: Tensor = self.projection(torch.cat([states[-2], states[-1]], dim=1))
        return output


class TwoTower(nn.Module):
    """A word table and a tower for queries and one for items, which may be the same."""

    def __init__(self, shape: Architecture, *, dropout: float = 0.0, train_table: bool = True) -> None:
        super().__init__()
        kind = MlpTower if shape.tower == "mlp" else RecurrentTower
        self.table = nn.Parameter(torch.zeros(shape.rows, shape.word_dims), requires_grad=train_table)
        self.query = kind(shape, dropout)
        self.item = self.query if shape.shared else kind(shape, dropout)
        self.shape = shape

    def encode(self, side: Side, texts: Texts) -> Tensor:
        """Encode texts: unit rows, shape (texts, dims)."""
        tower = self.query if side == "query" else self.item
        if not (torch.is_grad_enabled() and self.table.requires_grad):
            return normalize(tower(self.table, texts), dim=-1)
        is_used = torch.zeros(self.shape.rows, dtype=torch.bool)
        is_used[texts.rows] = True
        used = is_used.nonzero()[:, 0]
        place = torch.empty(self.shape.rows, dtype=torch.int64)
        place[used] = torch.arange(len(used))
        part: Tensor = _Rows.apply(self.table, used)  # type: ignore[no-untyped-call]
        return normalize(tower(part, Texts(place[texts.rows], texts.starts)), dim=-1)


class _Rows(torch.autograd.Function):
    """Some rows of a table, with a sparse gradient: a dense one would be as large as the table."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = table.shape
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return torch.sparse_coo_tensor(
            rows[None], gradients[0], ctx.size, is_coalesced=True, check_invariants=False
        ), None
