"""What an audio model is fine-tuned on: windows of sounds, their labels, what belongs together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.audio.frozen import FrozenModel
from encoders.training.audio_sounds import Sounds
from encoders.training.fusion_objective import infonce
from encoders.training.relations import Relations, Rows

FinetuningLoss: TypeAlias = Literal["classification", "contrastive"]
_BLOCK = re.compile(r"(?:^|\.)layers\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Windows of equal length, one a sound."""

    windows: Sequence[NDArray[np.float32]]  # n of shape (samples,)
    labels: Tensor  # int64 (n,)
    together: Tensor  # bool (n, n); of different groups only
    apart: Tensor  # bool (n, n)


@dataclass(frozen=True, slots=True)
class WindowBatches:
    """Anchors, to each a sound that belongs to it; of each sound a window drawn anew."""

    sounds: Sounds
    items: Rows  # those to learn from
    relations: Relations
    groups: Rows
    size: int  # sounds of a batch, about
    length: int  # of a window, in samples
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """As `Batches` says."""
        return -(-len(self._anchors()) // self._anchors_a_batch)

    @property
    def _anchors_a_batch(self) -> int:
        return max(1, self.size // 2)

    def epoch(self, number: int) -> Iterator[WindowBatch]:
        """Make the batches of an epoch."""
        random = np.random.default_rng([self.seed, 2, number])
        anchors = random.permutation(self._anchors())
        for start in range(0, len(anchors), self._anchors_a_batch):
            chosen = anchors[start : start + self._anchors_a_batch]
            positive = self._positive(chosen)
            drawn = self.items[(random.random(positive.shape) * positive).argmax(axis=1)]
            yield self._batch(np.unique(np.concatenate([chosen, drawn])), random)

    def _anchors(self) -> Rows:
        return np.asarray(self.items[self._positive(self.items).any(axis=1)])

    def _positive(self, rows: Rows) -> NDArray[np.bool_]:
        others = self.groups[rows][:, None] != self.groups[self.items][None]
        return np.asarray(self.relations.together(rows, self.items) & others)

    def _batch(self, items: Rows, random: np.random.Generator) -> WindowBatch:
        others = self.groups[items][:, None] != self.groups[items][None]
        return WindowBatch(
            [self.sounds.window(item, self.length, random.random()) for item in items.tolist()],
            torch.from_numpy(self.relations.labels[items]),
            torch.from_numpy(self.relations.together(items, items) & others),
            torch.from_numpy(self.relations.apart(items, items)),
        )


class AudioObjective(nn.Module):
    """An audio model, its head, and their loss.

    The model stays in evaluation mode: its dropout and its masking would only add noise to so few steps.
    """

    rate_scales: Mapping[str, float]

    def __init__(
        self,
        model: FrozenModel,
        layers: Sequence[int],
        *,
        loss: FinetuningLoss,
        classes: int,
        temperature: float,
        trained_blocks: int,
        head_rate: float,
    ) -> None:
        """Take an opened model, and let the last blocks of it learn.

        Args:
            model: opened in float32.
            layers: whose mean is the vector.
            loss: `classification` by a linear head, or `contrastive`.
            classes: of the head.
            temperature: of `contrastive`.
            trained_blocks: how many transformer blocks, from the last one; 0 = all.
            head_rate: by how much the head learns faster.
        """
        super().__init__()
        self.module, self._model, self._layers = model.module, model, list(layers)
        self._loss, self._temperature = loss, temperature
        self.head = nn.Linear(model.module.config.hidden_size, classes) if loss == "classification" else None
        self.rate_scales = {"head.": head_rate}
        unfreeze(self.module, trained_blocks)

    def train(self, mode: bool = True) -> Self:
        """Switch the head only."""
        super().train(mode)
        self.module.eval()
        return self

    def forward(self, batch: WindowBatch) -> Tensor:
        """Return the loss of a batch."""
        pooled = self._model.states(batch.windows)[:, self._layers].mean(dim=1)
        if self.head is not None:
            return nn.functional.cross_entropy(self.head(pooled), batch.labels)
        vectors = nn.functional.normalize(pooled, dim=1)
        return infonce(vectors @ vectors.T / self._temperature, batch.together, batch.apart)


def unfreeze(module: nn.Module, blocks: int) -> None:
    """Let the last transformer blocks learn; convolutions and positions stay as they are.

    Args:
        module: of transformers.
        blocks: how many; 0 = all of them.
    """
    places = {name: _BLOCK.search(name) for name, _ in module.named_parameters()}
    last = max(int(found[1]) for found in places.values() if found)
    for name, parameter in module.named_parameters():
        found = places[name]
        parameter.requires_grad_(found is not None and (blocks == 0 or int(found[1]) > last - blocks))


def pooled_vectors(
    model: FrozenModel, layers: Sequence[int], windows: Sequence[NDArray[np.float32]], together: int
) -> NDArray[np.float32]:
    """Encode windows of equal length, some together: unit rows, shape (n, width)."""
    parts = [
        model(windows[start : start + together])[:, list(layers)].mean(axis=1)
        for start in range(0, len(windows), together)
    ]
    vectors = np.concatenate(parts)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
