"""Fusing modalities in numpy: the same numbers as the network that was trained, without torch."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from encoders.modality_fusion.architecture import NORM_EPSILON, ModalityFusionShape
from encoders.tensors import check_tensors
from encoders.vectors import unit_rows

Floats: TypeAlias = NDArray[np.float32]
Present: TypeAlias = NDArray[np.bool_]


class ModalityFusion:
    """The tensors of a modality fusion, and what they do."""

    def __init__(self, shape: ModalityFusionShape, tensors: Mapping[str, Floats]) -> None:
        """Check the tensors' shapes.

        Raises:
            CorruptArtifact: if one is missing or has another shape.
        """
        check_tensors("modality fusion", tensors, shape.tensors())
        self.shape = shape
        self._tensors = tensors

    def __call__(self, vectors: Mapping[str, Floats], present: Present) -> Floats:
        """Fuse what the parts' encoders gave.

        Args:
            vectors: by modality, shape (n, width); rows of missing parts may hold anything.
            present: which parts each content has, at least one, shape (n, parts).

        Returns:
            Unit rows, shape (n, dims).

        Raises:
            EncoderFault: if a vector comes out with NaN or infinity.
        """
        if not len(present):
            return np.zeros((0, self.shape.dims), np.float32)
        mapped = self._mapped(vectors, present)
        match self.shape.strategy:
            case "concat":
                fused = mapped.reshape(len(mapped), -1) @ self._tensors["mix.weight"].T
            case "sum":
                fused = mapped.sum(axis=1)
            case "max":
                fused = np.where(present[..., None], mapped, -np.inf).max(axis=1)
            case _:
                fused = np.einsum("np,npd->nd", self._shares(mapped, present), mapped)
        return unit_rows(fused.astype(np.float32, copy=False))

    def shares(self, vectors: Mapping[str, Floats], present: Present) -> Floats:
        """Return how much of each part goes into each content's vector; of `gated` only, shape (n, parts)."""
        return self._shares(self._mapped(vectors, present), present)

    def _mapped(self, vectors: Mapping[str, Floats], present: Present) -> Floats:
        """Map every part, with zeros where it is missing, shape (n, parts, dims)."""
        mapped = np.zeros((len(present), len(self.shape.parts), self.shape.dims), np.float32)
        for place, modality in enumerate(self.shape.modalities):
            there = present[:, place]
            if there.any():
                values = vectors[modality][there] @ self._tensors[f"{modality}.linear.weight"].T
                values += self._tensors[f"{modality}.linear.bias"]
                values -= values.mean(axis=1, keepdims=True)
                values /= np.sqrt(values.var(axis=1, keepdims=True) + NORM_EPSILON)
                values *= self._tensors[f"{modality}.norm.weight"]
                mapped[there, place] = values + self._tensors[f"{modality}.norm.bias"]
        return mapped

    def _shares(self, mapped: Floats, present: Present) -> Floats:
        read = np.concatenate([mapped.reshape(len(mapped), -1), present.astype(np.float32)], axis=1)
        hidden = np.maximum(read @ self._tensors["gate.0.weight"].T + self._tensors["gate.0.bias"], 0)
        logits = hidden @ self._tensors["gate.2.weight"].T + self._tensors["gate.2.bias"]
        logits = np.where(present, logits, -np.inf)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
