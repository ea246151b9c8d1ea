"""Decoding one thing, and looking at it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.media.decoding import Decoder, Source, Span
from encoders.media.specs import AudioSpec, DecodeSpec, ImageSpec, VideoSpec
from retrieval.errors import TwinspireError

IMAGE = ImageSpec(height=8, width=8)
AUDIO = AudioSpec(sample_rate=8_000)
VIDEO = VideoSpec(frames=4, image=IMAGE)


def decode(decoder: Decoder, media: Source, spec: DecodeSpec = IMAGE, span_s: Span = None) -> NDArray[Any]:
    """Decode what can be decoded."""
    (outcome,) = decoder.decode([(media, spec, span_s)])
    if isinstance(outcome, TwinspireError):
        raise outcome
    return outcome


def refusal(decoder: Decoder, media: Source, spec: DecodeSpec = IMAGE, span_s: Span = None) -> TwinspireError:
    """Decode what cannot be decoded."""
    (outcome,) = decoder.decode([(media, spec, span_s)])
    assert isinstance(outcome, TwinspireError)
    return outcome


def is_grey(pixels: NDArray[np.uint8], tolerance: int = 3) -> bool:
    return bool((np.abs(pixels.astype(int) - 128) <= tolerance).all())


def hertz(samples: NDArray[np.float32], rate: int) -> float:
    """Tell a tone."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))
