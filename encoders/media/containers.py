"""MP4, MOV, WebM and MKV, opened with FFmpeg. Runs in a decoding process only."""

from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from encoders.media.limits import MediaLimits
from encoders.media.source import MediaSource
from retrieval.errors import MediaTooLarge, MediaUnreadable

# Nothing but this file is opened, whatever it refers to.
_OPTIONS = {"protocol_whitelist": "none", "enable_drefs": "0", "use_absolute_path": "0"}


def open_container(source: MediaSource) -> InputContainer:
    """Open a container; nothing is decoded yet.

    Raises:
        MediaUnreadable: if its header is damaged.
    """
    options = dict(_OPTIONS) if source.kind.name == "mov" else {"protocol_whitelist": "none"}
    try:
        return av.open(source.file, "r", format=source.kind.name, options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except Exception:  # FFmpeg's errors derive from many
        raise MediaUnreadable("media: the container is damaged or cut short") from None


def video_stream(container: InputContainer) -> VideoStream | None:
    """Return the first stream that moves and can be decoded: a cover picture is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and _prepare(stream):
            return stream
    return None


def audio_stream(container: InputContainer) -> AudioStream | None:
    """Return the first stream of sound that can be decoded."""
    return next((stream for stream in container.streams.audio if _prepare(stream)), None)


def _prepare(stream: VideoStream | AudioStream) -> bool:
    """Let a stream be decoded in this thread; tell whether anything here decodes it."""
    if stream.codec_context is None:
        return False
    stream.codec_context.thread_count = 1  # as many processes as shall work at a time decode already
    return True


def check_frame_size(width: int, height: int, limits: MediaLimits) -> None:
    """Check a video's size.

    Raises:
        MediaUnreadable: if it has no pixels.
        MediaTooLarge: if a frame has too many, or is too long and narrow.
    """
    if min(width, height) < 1:
        raise MediaUnreadable(f"video: expected pixels, got {width} x {height}")
    if width * height > limits.max_frame_pixels:
        raise MediaTooLarge(
            f"video: expected at most {limits.max_frame_pixels} pixels, got {width} x {height}"
        )
    if max(width, height) > limits.max_aspect * min(width, height):
        raise MediaTooLarge(
            f"video: expected an aspect of at most {limits.max_aspect}:1, got {width} x {height}"
        )


def duration_s(container: InputContainer, stream: Any) -> float:
    """Tell how long a stream is; where no header says, its packets are counted, without decoding.

    Raises:
        MediaUnreadable: if it has no length.
    """
    if stream.duration and stream.time_base:
        length = float(stream.duration * stream.time_base)
    elif container.duration:
        length = container.duration / av.time_base
    else:
        length = _counted_s(container, stream)
    if not length > 0:
        raise MediaUnreadable("media: expected some seconds, got none")
    return length


def start_s(stream: Any) -> float:
    """Tell at which time stamp a stream begins."""
    return float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0


def _counted_s(container: InputContainer, stream: Any) -> float:
    end = 0.0
    for packet in container.demux(stream):
        if packet.pts is not None and packet.time_base is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    container.seek(0)
    return end - start_s(stream)
