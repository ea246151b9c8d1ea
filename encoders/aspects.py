"""Aspects of sounds, read out of the layers of a frozen model; `encoders.probing` fits what reads them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from encoders.artifacts import write_model
from encoders.card import EncoderCard, read_card
from retrieval.errors import FailedPrecondition, IncompatibleModel, InvalidInput

KIND = "aspects"
FILE = "readouts.safetensors"
MAX_WEIGHT = 1e6

Readings = NDArray[np.float32]


class NotProbed(FailedPrecondition):
    """No probing has told yet which layers know what."""

    reason = "NOT_PROBED"


class AspectUnknown(FailedPrecondition):
    """No layer of the encoder predicts an aspect better than the mean does."""

    reason = "ASPECT_UNKNOWN"


class AspectReader:
    """Reads targets out of features: a linear readout of each layer, mixed by how well the layer knows it.

    A reading is in standard deviations from the mean of what was probed.
    """

    def __init__(self, card: EncoderCard, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Take the readouts.

        Args:
            card: says which features and targets they are of.
            weights: shape (layers * width, targets); 0 for targets that no layer knows.
            bias: shape (targets,).
        """
        self.card = card
        self._weights = weights
        self._bias = bias

    @property
    def aspects(self) -> Mapping[str, list[str]]:
        """The targets of each aspect that the layers know; none where they know none."""
        told: Mapping[str, list[str]] = self.card.architecture["aspects"]
        return told

    def read(self, features: NDArray[np.float32]) -> Readings:
        """Read targets out of features.

        Args:
            features: shape (n, layers, width).

        Returns:
            Shape (n, targets).
        """
        readings: Readings = features.reshape(len(features), -1) @ self._weights + self._bias
        return readings

    def target_weights(self, wanted: Mapping[str, float]) -> NDArray[np.float32]:
        """Weigh the targets for some aspects, each with a weight of its own that its targets share.

        Returns:
            Shape (targets,); they sum to 1.

        Raises:
            InvalidInput: if an aspect does not exist, or a weight is not above 0.
            AspectUnknown: if no layer knows one of them.
        """
        names: list[str] = self.card.architecture["targets"]
        weights = np.zeros(len(names))
        for aspect, weight in wanted.items():
            check_weight(aspect, weight)
            if aspect not in self.aspects:
                raise InvalidInput(
                    f"aspects: expected some of {', '.join(self.aspects)}; got {aspect[:80]!r}",
                    field="aspects",
                )
            known = self.aspects[aspect]
            if not known:
                raise AspectUnknown(f"no layer of the encoder knows {aspect!r}: its mean predicts it as well")
            for target in known:
                weights[names.index(target)] += weight / len(known)
        return np.asarray(weights / weights.sum(), np.float32)


def check_weight(aspect: str, weight: float) -> None:
    """Check the weight of an aspect.

    Raises:
        InvalidInput: unless it is above 0 and not huge.
    """
    if not 0 < weight <= MAX_WEIGHT:  # NaN fails too
        raise InvalidInput(
            f"aspects[{aspect[:80]!r}]: expected above 0, at most {MAX_WEIGHT:g}, got {weight:g}",
            field="aspects",
        )


def model_name(collection: str) -> str:
    """Return what the readouts fitted on a collection are registered as."""
    return f"{collection}-{KIND}"


def save_reader(
    folder: Path, card: EncoderCard, weights: NDArray[np.float32], bias: NDArray[np.float32]
) -> AspectReader:
    """Write a reader's folder and return it; raises as `write_model` does."""
    return AspectReader(
        write_model(folder, card, {FILE: save({"weights": weights, "bias": bias})}), weights, bias
    )


def load_reader(folder: Path) -> AspectReader:
    """Open a reader's folder.

    Raises:
        CorruptArtifact: if a file's bytes differ from the card's.
        IncompatibleModel: if the file does not fit the card.
    """
    card = read_card(folder)
    tensors = load((folder / FILE).read_bytes())
    told = card.architecture
    shape = (told["layers"] * told["width"], len(told["targets"]))
    if tensors["weights"].shape != shape or tensors["bias"].shape != shape[1:]:
        raise IncompatibleModel(
            f"{card.name}@{card.version}: expected readouts of shape {shape}, got {tensors['weights'].shape}"
        )
    return AspectReader(card, tensors["weights"], tensors["bias"])
