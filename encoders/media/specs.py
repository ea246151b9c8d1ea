"""What an encoder wants of a media file: how pictures, sounds and videos are decoded for it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """Decoded: uint8, shape (height, width, 3), RGB, upright, on white where it was transparent."""

    height: int
    width: int
    # "crop": the short edge is resized to `short_edge`, the middle cut out. "squash": the aspect changes.
    fit: str = "crop"
    short_edge: int = 0  # 0 = the longer of height and width
    resample: str = "bicubic"  # or "bilinear"

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise ValueError(f"expected a height and a width above 0, got {self.height} and {self.width}")
        if self.fit not in ("crop", "squash"):
            raise ValueError(f"fit: expected crop or squash, got {self.fit!r}")
        if self.resample not in ("bicubic", "bilinear"):
            raise ValueError(f"resample: expected bicubic or bilinear, got {self.resample!r}")
        if 0 < self.short_edge < max(self.height, self.width):
            raise ValueError(
                f"short_edge: expected at least {max(self.height, self.width)}, got {self.short_edge}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSpec:
    """Decoded: float32 in [-1, 1], mono, shape (samples,)."""

    sample_rate: int  # Hz
    max_seconds: float = 3600.0  # what is longer is cut there

    def __post_init__(self) -> None:
        if self.sample_rate < 1 or not self.max_seconds > 0:
            raise ValueError(
                f"expected a sample rate and seconds above 0, got {self.sample_rate} and {self.max_seconds}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSpec:
    """Decoded: uint8, shape (frames, height, width, 3): frames spread evenly over the file or its span."""

    frames: int
    image: ImageSpec

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames: expected at least 1, got {self.frames}")


DecodeSpec: TypeAlias = ImageSpec | AudioSpec | VideoSpec


def spec_json(spec: DecodeSpec) -> dict[str, Any]:
    """Describe a spec in what JSON can hold.

    >>> spec_json(AudioSpec(sample_rate=16000))
    {'kind': 'audio', 'sample_rate': 16000, 'max_seconds': 3600.0}
    """
    kind = {ImageSpec: "image", AudioSpec: "audio", VideoSpec: "video"}[type(spec)]
    return {"kind": kind, **asdict(spec)}


def parse_spec(description: Mapping[str, Any]) -> DecodeSpec:
    """Read what `spec_json` wrote.

    >>> parse_spec(spec_json(AudioSpec(sample_rate=16000)))
    AudioSpec(sample_rate=16000, max_seconds=3600.0)
    """
    values = {name: value for name, value in description.items() if name != "kind"}
    if description["kind"] == "image":
        return ImageSpec(**values)
    if description["kind"] == "audio":
        return AudioSpec(**values)
    return VideoSpec(frames=values["frames"], image=ImageSpec(**values["image"]))
