"""Encoders that are an image classifier without its last layer: pictures near in looks are near."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.device import check_precision
from encoders.encoder import Encoder
from encoders.extras import require
from encoders.image.pixels import Normalisation, image_spec
from encoders.image.preprocessing import image_preprocessing
from encoders.media.sides import decoded, encode_by_side
from encoders.media.specs import DecodeSpec
from encoders.memory import in_batches
from encoders.pretrained.description import Description
from encoders.pretrained.weights import SINGLE, read_tensors, to_safetensors
from retrieval.content import Content, Modality

if TYPE_CHECKING:
    from encoders.image.mobilenet import MobileNetV2

KIND = "image_backbone"
MOST_PICTURES = 8  # together; more are not faster


class ImageBackbone:
    """Implements `encoders.encoder.MediaEncoder`."""

    def __init__(self, card: EncoderCard, model: "MobileNetV2") -> None:
        """Wrap an opened model."""
        self._card, self._model = card, model
        parameter = next(model.parameters())
        self._normalised = Normalisation(card.preprocessing, parameter.device, parameter.dtype)
        self._spec = image_spec(card.preprocessing)

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        return self._card

    @property
    def decode_specs(self) -> Mapping[Modality, DecodeSpec]:
        """Pictures of the size that the model was trained with."""
        return {Modality.IMAGE: self._spec}

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode queries, as `Encoder` says."""
        return self.encode_items(contents)

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode items, as `Encoder` says."""
        return encode_by_side(self._card, contents, {Modality.IMAGE: self._pictures})

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell that pictures are never read in part."""
        return [False] * len(contents)

    def _pictures(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        memory = 64 * 4 * self._spec.height * self._spec.width  # the widest layer has 96 / 4 channels a pixel
        pictures = [decoded(content) for content in contents]
        return in_batches(self._features, pictures, bytes_each=memory, most=MOST_PICTURES)

    def _features(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            return np.asarray(self._model(self._normalised(pictures)).cpu().numpy())


def describe(folder: Path, *, precision: str = "float32") -> Description:
    """Describe torchvision's MobileNetV2, as `Family` says.

    Args:
        folder: holds config.json (`{"model_type": "torchvision_mobilenet_v2"}`), preprocessor_config.json and
            torchvision's weights as model.safetensors or pytorch_model.bin.
        precision: `float32`, or `auto` (bfloat16 where the device computes in it: faster, but one of twenty
            neighbours is another).
    """
    require("torch", "hf", f"the model in {folder.name!r}")
    from encoders.image.mobilenet import LAYERS, features_width, fold

    check_precision(precision)
    return Description(
        kind=KIND,
        modalities=("image",),
        dims=features_width(LAYERS),
        max_words=0,
        preprocessing={**image_preprocessing(folder), "precision": precision},
        architecture={"family": "mobilenet_v2", "layers": list(LAYERS)},
        files={SINGLE: to_safetensors(fold(read_tensors(folder)))},
    )


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    require("torch", "hf", f"model {card.name}@{card.version}")
    return ImageBackbone(card, _open(card, folder))


def _open(card: EncoderCard, folder: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from encoders.device import device, dtype
    from encoders.image.mobilenet import LAST_LAYER, MobileNetV2
    from retrieval.errors import IncompatibleModel

    what = f"model {card.name}@{card.version}"
    if card.architecture.get("family") != "mobilenet_v2":
        raise IncompatibleModel(f"{what}: nothing here computes a {card.architecture.get('family')!r}")
    with torch.device("meta"):
        model = MobileNetV2(card.architecture.get("layers", (LAST_LAYER,)))  # older cards name none
    try:
        model.load_state_dict(load_file(folder / SINGLE), strict=True, assign=True)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise IncompatibleModel(f"{what}: its weights do not fit a MobileNetV2") from error
    model = model.eval().requires_grad_(False).to(device(), dtype(card.preprocessing["precision"]))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
