"""Fusing layers in numpy: the same numbers as the network that was trained, without torch."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from encoders.layer_fusion.architecture import FusionShape
from encoders.tensors import check_tensors
from encoders.vectors import unit_rows

Floats = NDArray[np.float32]


class Fusion:
    """The tensors of a layer fusion, and what they do."""

    def __init__(self, shape: FusionShape, tensors: Mapping[str, Floats]) -> None:
        """Check the tensors' shapes.

        Raises:
            CorruptArtifact: if one is missing or has another shape.
        """
        check_tensors("layer fusion", tensors, shape.tensors())
        self.shape = shape
        self._tensors = tensors

    def __call__(self, features: Floats) -> Floats:
        """Fuse features, shape (n, layers, width), into unit rows, shape (n, dims).

        Raises:
            EncoderFault: if a vector comes out with NaN or infinity.
        """
        if not len(features):
            return np.zeros((0, self.shape.dims), np.float32)
        scaled = self._scaled(features)
        if self.shape.fusion == "mlp":
            mixed = scaled.reshape(len(scaled), -1)
        else:
            mixed = np.einsum("nl,nlw->nw", self._weights(scaled), scaled)
        hidden = self._linear("head.0", mixed)
        if self.shape.hidden:
            hidden = self._linear("head.2", np.maximum(hidden, 0))
        return unit_rows(hidden.astype(np.float32, copy=False))

    def layer_weights(self, features: Floats) -> Floats:
        """Return how much of each layer goes into the mixture of each sound.

        Args:
            features: shape (n, layers, width).

        Returns:
            Rows that sum to 1, shape (n, layers). For `mlp`, which does not mix: the share of each layer in
            the length of what its hidden layer reads.
        """
        scaled = self._scaled(features)
        if self.shape.fusion != "mlp":
            return self._weights(scaled)
        blocks = self._tensors["head.0.weight"].reshape(-1, self.shape.layers, self.shape.width)
        read = np.linalg.norm(np.einsum("hlw,nlw->nlh", blocks, scaled), axis=2)
        return np.asarray(read / np.maximum(read.sum(axis=1, keepdims=True), 1e-12), np.float32)

    def _scaled(self, features: Floats) -> Floats:
        return (features - self._tensors["mean"]) / self._tensors["scale"]

    def _weights(self, scaled: Floats) -> Floats:
        count, layers = len(scaled), self.shape.layers
        match self.shape.fusion:
            case "attention":
                hidden = np.maximum(self._linear("attention.0", scaled), 0)
                logits = self._linear("attention.2", hidden)[..., 0]
            case "weights":
                logits = np.broadcast_to(self._tensors["logits"], (count, layers))
            case "layer":
                logits = np.full((count, layers), -np.inf, np.float32)
                logits[:, self.shape.layer] = 0
            case _:
                logits = np.zeros((count, layers), np.float32)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    def _linear(self, name: str, values: Floats) -> Floats:
        return np.asarray(values @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"])
