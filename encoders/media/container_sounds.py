"""Decoding the sound of MP4, M4A, WebM and MKV files with FFmpeg. Runs in a decoding process only."""

from collections.abc import Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from encoders.media.containers import audio_stream, duration_s, open_container, start_s
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
from retrieval.errors import MediaUnreadable

# A compressed sound needs what came before: this much is decoded and thrown away before a span.
PREROLL_S = 0.25


def open_container_sound(
    source: MediaSource, spec: AudioSpec, span_s: Span, limits: MediaLimits
) -> tuple[int, Iterator[NDArray[np.float32]]]:
    """Open the sound of a container: its sample rate, and its mono blocks."""
    container = open_container(source)
    stream = checked_stream(container, limits)
    length_s = duration_s(container, stream)
    check_expansion(int(length_s * stream.rate) * stream.channels, source, limits)
    window = Window.of(span_s, spec.max_seconds, stream.rate)
    if window.start >= length_s * stream.rate:
        raise MediaUnreadable(f"span: it begins after the end at {length_s:.1f} s")
    return stream.rate, _blocks(container, stream, window, length_s)


def checked_stream(container: InputContainer, limits: MediaLimits) -> AudioStream:
    """Return the stream of sound.

    Raises:
        MediaUnreadable: if there is none, or its header is impossible.
        MediaTooLarge: if it has too many channels.
    """
    stream = audio_stream(container)
    if stream is None:
        raise MediaUnreadable("audio: expected a stream of sound, got a file without one that can be decoded")
    check_header(stream.channels, stream.rate or 0, limits)
    return stream


def _blocks(
    container: InputContainer, stream: AudioStream, window: Window, length_s: float
) -> Iterator[NDArray[np.float32]]:
    """Decode mono blocks, cut to the window by their time stamps."""
    rate, begin_s = stream.rate, start_s(stream)
    if window.start > PREROLL_S * rate and stream.time_base:
        at_s = begin_s + window.start / rate - PREROLL_S
        container.seek(int(at_s / stream.time_base), stream=stream)
    end = min(window.end, round(length_s * rate))
    position = None
    for frame in _frames(container, stream):
        if frame.sample_rate != rate:
            raise MediaUnreadable("audio: its sample rate changes on the way")
        if position is None:
            position = round(((frame.time or 0.0) - begin_s) * rate)
        block = _mono(frame)
        first, position = position, position + len(block)
        if position > window.start and first < end:
            yield block[max(0, window.start - first) : end - first]
        if position >= end:
            return
    if (position or 0) < end - LENGTH_TOLERANCE_S * rate:
        raise MediaUnreadable(
            f"audio: the header promises {end / rate:.1f} s, the file ends at {(position or 0) / rate:.1f} s"
        )


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    to_float = av.AudioResampler(format="fltp")
    try:
        for frame in container.decode(stream):
            yield from to_float.resample(frame)
    except av.FFmpegError:
        raise MediaUnreadable("audio: the stream is damaged") from None


def _mono(frame: AudioFrame) -> NDArray[np.float32]:
    """Mix a planar frame, shape (channels, samples), to mono."""
    return checked(frame.to_ndarray().T.astype(np.float32, copy=False))


def check_ends(container: InputContainer, stream: AudioStream, length_s: float) -> None:
    """Decode the beginning of a sound, and something near its end.

    Raises:
        MediaUnreadable: if there is nothing, or it is damaged.
    """
    begin = next(_blocks(container, stream, Window(0, BLOCK_FRAMES), length_s), None)
    end_s = max(0.0, length_s - 2 * LENGTH_TOLERANCE_S)
    tail = Window(round(end_s * stream.rate), UNKNOWN_FRAMES)
    container.seek(0)
    if begin is None or next(_blocks(container, stream, tail, length_s), None) is None:
        raise MediaUnreadable("audio: expected samples, got a file without any")
