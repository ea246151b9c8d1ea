"""What may be expected of a sound, whoever decodes it: its header, its length, its samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.media.limits import MediaLimits
from encoders.media.source import MediaSource
from retrieval.errors import MediaTooLarge, MediaUnreadable

BLOCK_FRAMES = 1 << 16
BYTES_PER_SAMPLE = 2  # as sound is usually kept
# A stream that ends no more than this before its header says is not cut short: MP3 encoders pad.
LENGTH_TOLERANCE_S = 0.5
# What libsndfile gives where the header of a stream does not say how long it is.
UNKNOWN_FRAMES = 1 << 62

Span = tuple[float, float] | None


def check_header(channels: int, sample_rate: int, limits: MediaLimits) -> None:
    """Check what a header claims.

    Raises:
        MediaUnreadable: if there are no channels, or the sample rate is impossible.
        MediaTooLarge: if there are too many channels.
    """
    if channels < 1:
        raise MediaUnreadable("audio: expected at least 1 channel, got 0")
    if channels > limits.max_channels:
        raise MediaTooLarge(f"audio: expected at most {limits.max_channels} channels, got {channels}")
    if not limits.min_sample_rate <= sample_rate <= limits.max_sample_rate:
        raise MediaUnreadable(
            f"audio: expected a sample rate of {limits.min_sample_rate} to {limits.max_sample_rate} Hz,"
            f" got {sample_rate}"
        )


def check_expansion(samples: int, source: MediaSource, limits: MediaLimits) -> None:
    """Check that a file does not unpack to far more sound than its size allows for.

    Raises:
        MediaTooLarge: if it does.
    """
    unpacked = samples * BYTES_PER_SAMPLE
    if unpacked > limits.unpacked_bytes and unpacked > limits.max_expansion * source.size:
        raise MediaTooLarge(
            f"audio: {source.size} bytes must not unpack to more than {limits.max_expansion} times as much"
        )


def checked(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mix a block of shape (frames, channels) to mono, within [-1, 1].

    Raises:
        MediaUnreadable: if a sample is NaN or infinite.
    """
    mono = block[:, 0].copy()  # `block.mean(axis=1)` gives the same, but takes as long as decoding does
    for channel in range(1, block.shape[1]):
        mono += block[:, channel]
    mono /= block.shape[1]
    if not np.isfinite(mono).all():
        raise MediaUnreadable("audio: expected finite samples, got NaN or infinity")
    return np.clip(mono, -1, 1, out=mono)


@dataclass(frozen=True, slots=True)
class Window:
    """The samples that are meant, by their number at the file's own rate."""

    start: int
    end: int

    @classmethod
    def of(cls, span_s: Span, max_seconds: float, sample_rate: int) -> "Window":
        """Turn seconds into samples.

        Raises:
            MediaUnreadable: if the span is none.
        """
        start_s, end_s = span_s or (0.0, max_seconds)
        if not 0 <= start_s < end_s:
            raise MediaUnreadable(f"span: expected seconds that ascend, got {start_s} to {end_s}")
        end_s = min(end_s, start_s + max_seconds)
        return cls(round(start_s * sample_rate), round(end_s * sample_rate))
