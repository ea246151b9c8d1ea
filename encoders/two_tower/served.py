"""The `mlp` tower in numpy: what the server runs. Imports neither torch nor anything else heavy."""

from itertools import accumulate, chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.tensors import map_tensors
from encoders.two_tower.architecture import SIDES, Architecture, Side
from encoders.two_tower.text_encoder import TENSORS_FILE, TextEncoder
from retrieval.errors import IncompatibleModel

_BLOCK_ROWS = 32_768  # table rows gathered at a time: bounds memory, and stays within the cache


class _Tower:
    """One side: word table with the first layer folded in, then bias, ReLU and the second layer."""

    def __init__(self, tensors: dict[str, NDArray[np.float32]], side: Side, shape: Architecture) -> None:
        prefix = "both" if shape.shared else side
        self.table = _take(tensors, f"{prefix}.table", (shape.rows, shape.table_dims))
        self.bias = _take(tensors, f"{prefix}.bias", (shape.table_dims,))
        self.hidden = shape.hidden_dims > 0
        if self.hidden:
            self.weight = _take(tensors, f"{prefix}.weight2", (shape.hidden_dims, shape.dims))
            self.bias2 = _take(tensors, f"{prefix}.bias2", (shape.dims,))

    def encode_one(self, rows: list[int]) -> NDArray[np.float32]:
        """Encode one text's table rows, shape (1, dims), not yet of unit length."""
        words = self.table.take(rows, axis=0)
        mean = np.add.reduce(words, axis=0, keepdims=True)
        mean /= len(rows)
        return self._head(mean)

    def encode(self, texts: list[list[int]]) -> NDArray[np.float32]:
        """Encode the table rows of several texts, shape (n, dims), not yet of unit length."""
        means = np.empty((len(texts), self.table.shape[1]), np.float32)
        lengths = [len(rows) for rows in texts]
        for start, stop in _blocks(lengths, _BLOCK_ROWS):
            rows = np.fromiter(chain.from_iterable(texts[start:stop]), np.intp)
            starts = list(accumulate(lengths[start : stop - 1], initial=0))
            np.add.reduceat(self.table.take(rows, axis=0), starts, axis=0, out=means[start:stop])
        means /= np.array(lengths, np.float32)[:, None]
        return self._head(means)

    def _head(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        means += self.bias
        if not self.hidden:
            return means
        np.maximum(means, 0, out=means)
        result: NDArray[np.float32] = means @ self.weight
        result += self.bias2
        return result


class MlpEncoder(TextEncoder):
    """A two-tower encoder of kind `mlp`. Threads may share it.

    A text's vector does not depend on the batch but for the order in which the matrix product adds:
    the difference is below 1e-6 a number.
    """

    def __init__(self, card: EncoderCard, folder: Path) -> None:
        """Map the model's files; `read_card` has checked their bytes.

        Raises:
            CorruptArtifact: if a file is not what it claims.
            IncompatibleModel: if the tensors do not fit the card.
        """
        super().__init__(card, folder)
        tensors = map_tensors(folder / TENSORS_FILE)
        self._towers = {side: _Tower(tensors, side, self._shape) for side in SIDES}

    def _encode(self, side: Side, texts: list[list[int]]) -> NDArray[np.float32]:
        tower = self._towers[side]
        return tower.encode_one(texts[0]) if len(texts) == 1 else tower.encode(texts)


def _blocks(lengths: list[int], size: int) -> list[tuple[int, int]]:
    """Cut consecutive texts into blocks of about `size` rows in all.

    >>> _blocks([3, 3, 9, 1], 5)
    [(0, 2), (2, 3), (3, 4)]
    """
    blocks = []
    start = total = 0
    for stop, length in enumerate(lengths, 1):
        total += length
        if total >= size or stop == len(lengths):
            blocks.append((start, stop))
            start, total = stop, 0
    return blocks


def _take(
    tensors: dict[str, NDArray[np.float32]], name: str, expected: tuple[int, ...]
) -> NDArray[np.float32]:
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != expected:
        got = "none" if tensor is None else tensor.shape
        raise IncompatibleModel(f"{name}: expected the shape {expected}, got {got}")
    return tensor
