"""What an encoder wants of a media file: how pictures, sounds and videos are decoded for it."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """Decoded: uint8, shape (height, width, 3), RGB, upright, on white where it was transparent."""

    height: int
    width: int
    # "crop": the short edge is resized to `short_edge`, the middle cut out. "squash": the aspect changes.
    fit: str = "crop"
    short_edge: int = 0  # 0 = the longer of height and width
    resample: str = "bicubic"  # or "bilinear"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSpec:
    """Decoded: float32 in [-1, 1], mono, shape (samples,)."""

    sample_rate: int  # Hz
    max_seconds: float = 3600.0  # what is longer is cut there


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSpec:
    """Decoded: uint8, shape (frames, height, width, 3): frames spread evenly over the file or its span."""

    frames: int
    image: ImageSpec


DecodeSpec: TypeAlias = ImageSpec | AudioSpec | VideoSpec
