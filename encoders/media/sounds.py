"""Decoding sounds with libsndfile (what it cannot read: FFmpeg) and soxr. Runs in a decoding process only."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from encoders.media.facts import MediaFacts
from encoders.media.limits import MediaLimits
from encoders.media.sound_checks import (
    BLOCK_FRAMES,
    LENGTH_TOLERANCE_S,
    UNKNOWN_FRAMES,
    Span,
    Window,
    check_expansion,
    check_header,
    checked,
)
from encoders.media.source import MediaSource
from encoders.media.specs import AudioSpec
from encoders.media.wav_header import check_wav
from retrieval.errors import MediaUnreadable


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
