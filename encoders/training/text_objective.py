"""What a pretrained text encoder is fine-tuned for: a batch in, a loss out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encoders.text.architecture import Side
from encoders.text.packing import Packed
from encoders.text.transformer import Tokens, Transformer
from encoders.training.distributed import gather, own_slice
from encoders.training.losses import contrastive
from encoders.training.objective import MAX_SCALE, PairBatch
from encoders.two_tower.ragged import RaggedTexts


class TextTowers(nn.Module):
    """The query side and the item side of a text encoder, which may be one transformer."""

    def __init__(
        self, query: Transformer, item: Transformer, *, texts_at_once: int, dtype: torch.dtype = torch.float32
    ) -> None:
        """Put the sides together.

        Args:
            query: of queries.
            item: of items; may be the same one.
            texts_at_once: whose activations are held in memory.
            dtype: what the matrices are multiplied in; weights and gradients stay float32.
        """
        super().__init__()
        self.query = query
        self.item = item
        self._texts_at_once = texts_at_once
        self._dtype = dtype

    def encode(self, side: Side, texts: RaggedTexts) -> Tensor:
        """Encode texts, given as token ids: unit vectors, shape (texts, width).

        Only the vectors are kept for the backward pass, which encodes each part again: the gradient is that
        of the whole batch, the memory that of a part.

        Source: GradCache (Gao et al. 2021, arXiv:2101.06983), by torch's checkpoints, which also replay the
        random numbers of dropout.
        """
        tower = self.query if side == "query" else self.item
        order = np.argsort(np.diff(texts.starts), kind="stable")  # little padding within a part
        parts = [order[at : at + self._texts_at_once] for at in range(0, len(order), self._texts_at_once)]
        keep = len(parts) == 1 or not torch.is_grad_enabled()
        vectors = [
            self._run(tower, [texts.text(number) for number in part])
            if keep
            else checkpoint(self._run, tower, [texts.text(number) for number in part], use_reentrant=False)
            for part in parts
        ]
        back = torch.from_numpy(np.argsort(order, kind="stable"))
        return torch.cat(vectors)[back.to(vectors[0].device)]

    def _run(self, tower: Transformer, texts: Sequence[NDArray[np.int32]]) -> Tensor:
        where = tower.words.device
        packed = Packed.of([text.astype(np.int64) for text in texts])
        with torch.autocast(where.type, self._dtype, enabled=self._dtype != torch.float32):
            vectors = tower(Tokens.of(packed, tower.shape, where))
        return nn.functional.normalize(vectors.float(), dim=1)


class _Objective(nn.Module):
    """Towers with a temperature."""

    whole_batch_parameters = ("log_scale",)

    def __init__(self, towers: TextTowers, *, temperature: float, learn_temperature: bool) -> None:
        super().__init__()
        self.towers = towers
        self.log_scale = nn.Parameter(
            torch.tensor(math.log(1 / temperature)), requires_grad=learn_temperature
        )

    def scale(self) -> Tensor:
        """Return 1 / temperature."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)

    def encode(self, side: Side, texts: RaggedTexts) -> Tensor:
        """Encode the slice of this process, and gather the others'."""
        own = texts.take(own_slice(len(texts)))
        width = self.towers.query.shape.width
        vectors = self.towers.encode(side, own) if len(own) else self.log_scale.new_zeros(0, width)
        return gather(vectors, len(texts))


class PairObjective(_Objective):
    """Both sides: a question's item against the other items of its batch."""

    def forward(self, batch: PairBatch) -> Tensor:
        """Return the loss of the whole batch."""
        scores = self.encode("query", batch.queries) @ self.encode("item", batch.items).T
        where = scores.device
        return contrastive(scores, batch.targets.to(where), batch.forbidden.to(where), self.scale())


@dataclass(frozen=True, slots=True)
class CorpusVectors:
    """The vectors of all segments of a corpus, which stay as they are."""

    vectors: Tensor  # shape (segments, width)
    owners: NDArray[np.int64]  # the item's number of each segment, ascending
    starts: NDArray[np.int64]  # where each item's segments begin, and the end of the last; (items + 1,)

    def segments(self, item: int) -> range:
        """Return the segments of an item; none if it has no vector."""
        return range(int(self.starts[item]), int(self.starts[item + 1]))


@dataclass(frozen=True, slots=True)
class CorpusBatch:
    """Questions, and the items of the corpus that each is to find."""

    queries: RaggedTexts
    targets: Sequence[Sequence[int]]  # the items that are right for each


class CorpusObjective(_Objective):
    """The query side alone: a question's item against the whole corpus."""

    def __init__(
        self, towers: TextTowers, corpus: CorpusVectors, *, temperature: float, learn_temperature: bool
    ) -> None:
        super().__init__(towers, temperature=temperature, learn_temperature=learn_temperature)
        self._corpus = corpus

    def forward(self, batch: CorpusBatch) -> Tensor:
        """Return the loss of the batch.

        For each item that is right, a softmax over it and all segments that are wrong; an item counts with
        all of its segments. Averaged over a question's items, then over the questions.
        """
        scores = self.scale() * (self.encode("query", batch.queries) @ self._corpus.vectors.T)
        spans = [[self._corpus.segments(item) for item in items] for items in batch.targets]
        right = torch.zeros_like(scores, dtype=torch.bool)
        for row, own in enumerate(spans):
            for span in own:
                right[row, span.start : span.stop] = True
        wrong = scores.masked_fill(right, float("-inf")).logsumexp(1)
        losses = []
        for row, own in enumerate(spans):
            items = torch.stack([scores[row, span.start : span.stop].logsumexp(0) for span in own])
            losses.append((torch.logaddexp(items, wrong[row]) - items).mean())
        return torch.stack(losses).mean()
