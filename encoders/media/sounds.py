"""Decoding sounds with libsndfile (what it cannot read: FFmpeg) and soxr. Runs in a decoding process only."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from encoders.media.facts import MediaFacts
from encoders.media.limits import MediaLimits
from encoders.media.source import MediaSource
from encoders.media.specs import AudioSpec
from encoders.media.wav_header import check_wav
from retrieval.errors import MediaTooLarge, MediaUnreadable

BLOCK_FRAMES = 1 << 16
BYTES_PER_SAMPLE = 2  # as sound is usually kept
# A stream that ends no more than this before its header says is not cut short: MP3 encoders pad.
LENGTH_TOLERANCE_S = 0.5
# What libsndfile gives where the header of a stream does not say how long it is.
UNKNOWN_FRAMES = 1 << 62

Span = tuple[float, float] | None


def decode_sound(source: MediaSource, spec: AudioSpec, span_s: Span, limits: MediaLimits) -> list[memoryview]:
    """Decode a sound: float32 samples, mono, in parts."""
    source.require("audio", ("sound", "container"), limits)
    if source.kind.family == "container":
        from encoders.media.container_sounds import open_container_sound

        rate, blocks = open_container_sound(source, spec, span_s, limits)
    else:
        rate, blocks = _open_blocks(source, spec, span_s, limits)
    return [part.data for part in resampled(blocks, rate, spec)]


def sound_facts(source: MediaSource, limits: MediaLimits) -> MediaFacts:
    """Look at a sound: its header, its first block and its end are decoded."""
    with _open(source, limits) as sound:
        _check_ends(sound)
        return MediaFacts(
            modality="audio",
            mime_type=source.kind.mime_type,
            duration_s=sound.frames / sound.samplerate,
            channels=sound.channels,
            sample_rate=sound.samplerate,
        )


def _check_ends(sound: Any) -> None:
    checked(_read(sound, min(BLOCK_FRAMES, sound.frames)))
    last = max(0, sound.frames - int(sound.samplerate * LENGTH_TOLERANCE_S) - 1)
    if len(_read(sound, BLOCK_FRAMES, start=last)) == 0:
        raise _cut_short(sound.frames, last, sound.samplerate)


def _read(sound: Any, frames: int, start: int | None = None) -> NDArray[np.float32]:
    """Read a block, shape (frames, channels).

    Raises:
        MediaUnreadable: if the stream is damaged here.
    """
    try:
        if start is not None:
            sound.seek(start)
        block: NDArray[np.float32] = sound.read(frames, dtype="float32", always_2d=True)
    except soundfile.SoundFileError:
        raise MediaUnreadable("audio: the stream is damaged or cut short") from None
    return block


def _open(source: MediaSource, limits: MediaLimits) -> Any:
    """Open a sound and check what its header claims.

    Raises:
        MediaUnreadable: if the header is damaged or impossible.
        MediaTooLarge: if it claims too many channels, or far more sound than a file of its size holds.
    """
    source.require("audio", ("sound",), limits)
    if source.kind.name == "WAV":
        check_wav(source)
    try:
        sound = soundfile.SoundFile(source.file)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError):
        raise MediaUnreadable(f"audio: the header of this {source.kind.name} is damaged") from None
    check_header(sound.channels, sound.samplerate, limits)
    if sound.frames < 1:
        raise MediaUnreadable("audio: expected samples, got a file without any")
    if sound.frames >= UNKNOWN_FRAMES:
        raise MediaUnreadable("audio: expected a header that tells how long the sound is")
    check_expansion(sound.frames * sound.channels, source, limits)
    return sound


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
    mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise MediaUnreadable("audio: expected finite samples, got NaN or infinity")
    return np.clip(mono, -1, 1)


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


def _open_blocks(
    source: MediaSource, spec: AudioSpec, span_s: Span, limits: MediaLimits
) -> tuple[int, Iterator[NDArray[np.float32]]]:
    sound = _open(source, limits)
    window = Window.of(span_s, spec.max_seconds, sound.samplerate)
    if window.start >= sound.frames:
        raise MediaUnreadable(f"span: it begins after the end at {sound.frames / sound.samplerate:.1f} s")
    return sound.samplerate, _blocks(sound, window)


def _blocks(sound: Any, window: Window) -> Iterator[NDArray[np.float32]]:
    """Read mono blocks, as far as the window and the file go."""
    position, end = window.start, min(window.end, sound.frames)
    if position:
        _read(sound, 0, start=position)
    while position < end:
        block = _read(sound, min(BLOCK_FRAMES, end - position))
        if len(block) == 0:
            break
        position += len(block)
        yield checked(block)
    if position < end - LENGTH_TOLERANCE_S * sound.samplerate:
        raise _cut_short(end, position, sound.samplerate)


def _cut_short(expected: int, got: int, sample_rate: int) -> MediaUnreadable:
    return MediaUnreadable(
        f"audio: the header promises {expected / sample_rate:.1f} s,"
        f" the file ends before {got / sample_rate:.1f} s"
    )


def resampled(
    blocks: Iterator[NDArray[np.float32]], rate: int, spec: AudioSpec
) -> Iterator[NDArray[np.float32]]:
    """Bring mono blocks to the spec's sample rate.

    Raises:
        MediaUnreadable: if no sample comes out.
    """
    import soxr

    most = int(spec.sample_rate * spec.max_seconds)
    stream = (
        soxr.ResampleStream(rate, spec.sample_rate, 1, dtype="float32") if rate != spec.sample_rate else None
    )
    made = 0
    for block in blocks:
        part = block if stream is None else np.clip(stream.resample_chunk(block), -1, 1)
        made += len(part)
        if len(part):
            yield part
    if stream is not None:
        rest = np.clip(stream.resample_chunk(np.zeros(0, np.float32), last=True), -1, 1)[
            : max(0, most - made)
        ]
        made += len(rest)
        yield rest
    if made == 0:
        raise MediaUnreadable("audio: expected samples, got a file without any")
