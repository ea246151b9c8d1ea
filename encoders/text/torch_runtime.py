"""Running a text transformer in torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.text.architecture import Architecture
from encoders.text.packing import Packed
from encoders.text.transformer import Linear, Tokens, load_transformer
from encoders.text.weight_file import find_tensors


def read_tensors(file: Path, shape: Architecture) -> dict[str, torch.Tensor]:
    """Read a transformer's tensors in float32, by our names.

    Raises:
        IncompatibleModel: if the file does not hold them.
    """
    from safetensors import safe_open

    found = find_tensors(file, shape)
    with safe_open(file, framework="pt") as tensors:
        return {ours: tensors.get_tensor(entry.name).float() for ours, entry in found.items()}


class TorchRuntime:
    """A transformer in torch. Threads may share it."""

    def __init__(
        self,
        file: Path,
        shape: Architecture,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Load the weights; with another type than float32, its matrices are of that type.

        Raises:
            IncompatibleModel: if the file does not hold what the architecture needs.
        """
        self._shape = shape
        self._device = device or torch.device("cpu")
        self._model = load_transformer(shape, read_tensors(file, shape)).requires_grad_(False)
        for module in self._model.modules():
            if isinstance(module, Linear):
                module.to(dtype)
        self._model.to(self._device)

    @torch.inference_mode()
    def run(self, texts: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Encode token ids of texts: vectors of any length, shape (n, width)."""
        tokens = Tokens.of(Packed.of(texts), self._shape, self._device)
        vectors: NDArray[np.float32] = self._model(tokens).float().cpu().numpy()
        return vectors
