"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), the whole model, for inference.

Batch normalisation is folded into the convolutions, so a layer is a convolution with a bias. What follows a
convolution is done in its place: a sixth faster, for it is still in the caches.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from retrieval.errors import IncompatibleModel

if TYPE_CHECKING:
    from collections.abc import Mapping

# Expansion, output channels, repeats, stride of the first: table 2 of the paper.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32
LAST_WIDTH = 1280  # channels of the last convolution
# The features that are read: the ends of the stages of 96 and of 320 channels, and the last convolution.
LAST_LAYER = 18
LAYERS = (13, 17, LAST_LAYER)
BATCH_NORM_EPSILON = 1e-5


class Convolution(nn.Conv2d):
    """A convolution that keeps the size (but for its stride), and ReLU6 if it is told."""

    def __init__(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        super().__init__(inputs, outputs, size, stride, padding=size // 2, groups=groups)
        self._relu = relu

    def forward(self, pixels: Tensor) -> Tensor:
        """Convolve, shape (n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        out: Tensor = super().forward(pixels)
        return nn.functional.relu6(out, inplace=True) if self._relu else out


class InvertedResidual(nn.Sequential):
    """Widen, filter each channel, narrow; and add what came in where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        hidden = inputs * expansion
        widen = [] if expansion == 1 else [Convolution(inputs, hidden, 1)]
        super().__init__(
            *widen,
            Convolution(hidden, hidden, 3, stride=stride, groups=hidden),
            Convolution(hidden, outputs, 1, relu=False),
        )
        self._adds = stride == 1 and inputs == outputs

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute, shape (n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        out: Tensor = super().forward(pixels)  # type: ignore[no-untyped-call]
        return out.add_(pixels) if self._adds else out


class MobileNetV2(nn.Module):
    """Pictures in, the means of some feature maps out, each of length 1."""

    def __init__(self, layers_read: Sequence[int] = LAYERS) -> None:
        """Make the model; `layers_read` are numbers of its layers, ascending."""
        super().__init__()
        self._read = tuple(layers_read)
        layers: list[nn.Module] = [Convolution(3, STEM_CHANNELS, 3, stride=2)]
        channels = STEM_CHANNELS
        for expansion, outputs, repeats, stride in STAGES:
            for repeat in range(repeats):
                layers.append(InvertedResidual(channels, outputs, 1 if repeat else stride, expansion))
                channels = outputs
        layers.append(Convolution(channels, LAST_WIDTH, 1))
        self.features = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the features of normalised pixels, shape (n, 3, h, w) -> (n, channels of what is read)."""
        means = []
        for number, layer in enumerate(self.features):
            pixels = layer(pixels)  # at last (n, LAST_WIDTH, h / 32, w / 32)
            if number in self._read:
                mean = pixels.mean(dim=(2, 3), dtype=torch.float32)
                means.append(nn.functional.normalize(mean, dim=1))
        return torch.cat(means, dim=1)


def features_width(layers_read: Sequence[int]) -> int:
    """Return how many features some layers have together.

    >>> features_width(LAYERS)
    1696
    """
    stages = [outputs for _, outputs, repeats, _ in STAGES for _ in range(repeats)]
    channels = [STEM_CHANNELS, *stages, LAST_WIDTH]
    return sum(channels[number] for number in layers_read)


def fold(state: "Mapping[str, Any]") -> dict[str, Tensor]:
    """Fold the batch normalisations of torchvision's weights into its convolutions.

    Both list the layers in the same order, so the n-th convolution there is the n-th here.

    Raises:
        IncompatibleModel: if they are not the weights of a MobileNetV2 of width 1.
    """
    ordered = sorted(state, key=lambda name: [int(part) for part in name.split(".") if part.isdigit()])
    norms = [name.removesuffix(".running_mean") for name in ordered if name.endswith(".running_mean")]
    kernels = [name for name in ordered if name.startswith("features.") and state[name].ndim == 4]
    with torch.device("meta"):
        expected = MobileNetV2().state_dict()
    own = [name for name in expected if name.endswith(".weight")]
    if not len(own) == len(kernels) == len(norms):
        raise IncompatibleModel(
            f"expected the {len(own)} convolutions of torchvision's MobileNetV2, got {len(kernels)}"
        )
    folded = {}
    for name, kernel, norm in zip(own, kernels, norms, strict=True):
        if state[kernel].shape != expected[name].shape:
            raise IncompatibleModel(
                f"{kernel}: expected shape {tuple(expected[name].shape)}, got {tuple(state[kernel].shape)}"
            )
        scale = (
            state[f"{norm}.weight"].double()
            / (state[f"{norm}.running_var"].double() + BATCH_NORM_EPSILON).sqrt()
        )
        folded[name] = (state[kernel].double() * scale[:, None, None, None]).float()
        bias = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * scale
        folded[name.removesuffix("weight") + "bias"] = bias.float()
    return folded
