"""Decoding videos with FFmpeg: frames spread over time. Runs in a decoding process only."""

from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from encoders.media import container_sounds
from encoders.media.containers import (
    audio_stream,
    check_frame_size,
    duration_s,
    open_container,
    start_s,
    video_stream,
)
from encoders.media.facts import MediaFacts
from encoders.media.limits import MediaLimits
from encoders.media.sound_checks import check_expansion
from encoders.media.source import MediaSource
from encoders.media.specs import ImageSpec, VideoSpec
from retrieval.errors import MediaTooLarge, MediaUnreadable

Span = tuple[float, float] | None

# Where no index tells which key frame lies before a time: what is nearer than this is reached by decoding on.
DECODE_ON_S = 4.0
# A stream that ends no more than this before its header says is not cut short: its last frame stands longer.
END_TOLERANCE_S = 1.0


def decode_video(source: MediaSource, spec: VideoSpec, span_s: Span, limits: MediaLimits) -> memoryview:
    """Decode frames: RGB, shape (frames, height, width, 3)."""
    source.require("video", ("container",), limits)
    if spec.frames > limits.max_frames:
        raise MediaTooLarge(f"video: expected at most {limits.max_frames} frames, got {spec.frames}")
    container = open_container(source)
    stream = checked_stream(container, limits)
    times = spread(spec.frames, span_s, checked_duration(container, stream, limits))
    frames = np.empty((spec.frames, spec.image.height, spec.image.width, 3), dtype=np.uint8)
    for place, frame in enumerate(frames_at(container, stream, times, limits)):
        frames[place] = fit_frame(frame, spec.image)
    return frames.data


def container_facts(source: MediaSource, limits: MediaLimits) -> MediaFacts:
    """Look at a video, or at the sound in such a container: the beginning and the end are decoded."""
    container = open_container(source)
    stream = video_stream(container)
    if stream is None:
        return _sound_facts(source, container, limits)
    source.require("video", ("container",), limits)
    checked_stream(container, limits)
    length_s = checked_duration(container, stream, limits)
    first, _ = frames_at(container, stream, [0.0, max(0.0, length_s - END_TOLERANCE_S)], limits)
    width, height = first.width, first.height
    if first.rotation % 180:
        width, height = height, width
    sound = audio_stream(container)
    rate = stream.average_rate or stream.guessed_rate
    return MediaFacts(
        modality="video",
        mime_type=source.kind.mime_type if source.kind.mime_type != "audio/mp4" else "video/mp4",
        width=width,
        height=height,
        duration_s=length_s,
        channels=sound.channels if sound else None,
        sample_rate=sound.rate if sound else None,
        frames=stream.frames or (round(length_s * rate) if rate else None),
    )


def _sound_facts(source: MediaSource, container: InputContainer, limits: MediaLimits) -> MediaFacts:
    source.require("audio", ("container",), limits)
    stream = container_sounds.checked_stream(container, limits)
    length_s = duration_s(container, stream)
    check_expansion(int(length_s * stream.rate) * stream.channels, source, limits)
    container_sounds.check_ends(container, stream, length_s)
    return MediaFacts(
        modality="audio",
        mime_type="audio/mp4" if source.kind.name == "mov" else "audio/webm",
        duration_s=length_s,
        channels=stream.channels,
        sample_rate=stream.rate,
    )


def video_thumbnail(source: MediaSource, limits: MediaLimits) -> bytes:
    """Make a small WebP of a video's middle frame."""
    from PIL import Image

    from encoders.media.images import THUMBNAIL_EDGE, thumbnail

    container = open_container(source)
    stream = checked_stream(container, limits)
    times = spread(1, None, checked_duration(container, stream, limits))
    frame = next(frames_at(container, stream, times, limits))
    long = max(frame.width, frame.height)
    scale = min(1.0, THUMBNAIL_EDGE / long)
    size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    return thumbnail(Image.fromarray(turned(rgb(frame, *size, "bicubic"), frame)))


def checked_stream(container: InputContainer, limits: MediaLimits) -> VideoStream:
    """Return the stream that moves.

    Raises:
        MediaUnreadable: if there is none, or it has no pixels.
        MediaTooLarge: if its frames are too large.
    """
    stream = video_stream(container)
    if stream is None:
        raise MediaUnreadable(
            "video: expected a stream of pictures, got a file without one that can be decoded"
        )
    check_frame_size(stream.width, stream.height, limits)
    return stream


def checked_duration(container: InputContainer, stream: VideoStream, limits: MediaLimits) -> float:
    """Return how long a video is, in seconds.

    Raises:
        MediaUnreadable: if it has no length.
        MediaTooLarge: if it is too long.
    """
    length_s = duration_s(container, stream)
    if length_s > limits.max_video_s:
        raise MediaTooLarge(f"video: expected at most {limits.max_video_s:g} s, got {length_s:.0f}")
    return length_s


def spread(frames: int, span_s: Span, length_s: float) -> list[float]:
    """Choose times: the middles of equal parts of a span, or of the whole video.

    >>> spread(2, None, 4.0)
    [1.0, 3.0]

    Raises:
        MediaUnreadable: if the span begins after the end.
    """
    start_s, end_s = span_s or (0.0, length_s)
    end_s = min(end_s, length_s)
    if not 0 <= start_s < end_s:
        raise MediaUnreadable(f"span: expected seconds within 0 to {length_s:.1f}, got {start_s} to {end_s}")
    return [start_s + (end_s - start_s) * (part + 0.5) / frames for part in range(frames)]


def frames_at(
    container: InputContainer, stream: VideoStream, times: list[float], limits: MediaLimits
) -> Iterator[VideoFrame]:
    """Decode the frames that are shown at ascending times, in seconds from the beginning.

    Raises:
        MediaUnreadable: if the stream is damaged, or ends before its header says.
        MediaTooLarge: if a frame is larger than its header said.
    """
    walk = _Walk(container, stream, limits)
    for time_s in times:
        yield walk.frame_at(time_s)


class _Walk:
    """Goes through a video forwards, by decoding on or by jumping to a key frame, whichever is less work."""

    def __init__(self, container: InputContainer, stream: VideoStream, limits: MediaLimits) -> None:
        self._container, self._stream, self._limits = container, stream, limits
        self._begin_s = start_s(stream)
        self._shown: VideoFrame | None = None  # at the time that was asked for last
        self._next: VideoFrame | None = None  # the one after it
        self._decoded = container.decode(stream)

    def frame_at(self, time_s: float) -> VideoFrame:
        at_s = self._begin_s + time_s
        if self._is_worth_a_jump(at_s):
            self._jump(at_s)
        while self._next is None or self._time(self._next) <= at_s:
            frame = self._step()
            if frame is None:
                break
            self._shown, self._next = self._next or self._shown, frame
        else:
            return self._shown or self._next
        return self._last(at_s)

    def _step(self) -> VideoFrame | None:
        try:
            frame = next(self._decoded, None)
        except av.FFmpegError:
            raise MediaUnreadable("video: the stream is damaged") from None
        if frame is not None:
            check_frame_size(frame.width, frame.height, self._limits)
        return frame

    def _last(self, at_s: float) -> VideoFrame:
        """Take the last frame of the stream for a time after it."""
        frame = self._next or self._shown
        if frame is None:
            raise MediaUnreadable("video: expected frames, got none that can be decoded")
        if self._time(frame) + END_TOLERANCE_S + 1 / float(self._stream.average_rate or 25) < at_s:
            raise MediaUnreadable(
                f"video: the header promises frames at {at_s - self._begin_s:.1f} s, the file ends at"
                f" {self._time(frame) - self._begin_s:.1f} s"
            )
        return frame

    def _time(self, frame: VideoFrame) -> float:
        return frame.time if frame.time is not None else self._begin_s

    def _is_worth_a_jump(self, at_s: float) -> bool:
        now_s = self._time(self._next) if self._next else self._begin_s
        index = self._stream.index_entries
        if not len(index) or not self._stream.time_base:
            return at_s - now_s > DECODE_ON_S
        place = index.search_timestamp(int(at_s / self._stream.time_base))
        return place >= 0 and float(index[place].timestamp * self._stream.time_base) > now_s

    def _jump(self, at_s: float) -> None:
        assert self._stream.time_base is not None
        try:
            self._container.seek(int(at_s / self._stream.time_base), stream=self._stream)
        except av.FFmpegError:
            return  # what cannot be sought is decoded up to there
        self._shown = self._next = None
        self._decoded = self._container.decode(self._stream)


def fit_frame(frame: VideoFrame, spec: ImageSpec) -> NDArray[np.uint8]:
    """Resize a frame as `images.fit_image` does a picture, and turn it upright."""
    sideways = bool(frame.rotation % 180)
    height, width = (spec.width, spec.height) if sideways else (spec.height, spec.width)
    if spec.fit == "squash":
        return turned(rgb(frame, width, height, spec.resample), frame)
    short = spec.short_edge or max(spec.height, spec.width)
    scale = short / min(frame.width, frame.height)
    size = (max(width, int(frame.width * scale)), max(height, int(frame.height * scale)))
    whole = rgb(frame, *size, spec.resample)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return turned(whole[top : top + height, left : left + width], frame)


def rgb(frame: VideoFrame, width: int, height: int, resample: str) -> NDArray[np.uint8]:
    """Convert a frame to RGB of a size: uint8, shape (height, width, 3)."""
    small = frame.reformat(
        width=width, height=height, format="rgb24", interpolation=resample.upper(), threads=1
    )
    return small.to_ndarray().astype(np.uint8, copy=False)


def turned(pixels: NDArray[np.uint8], frame: VideoFrame) -> NDArray[np.uint8]:
    """Turn pixels upright, as the camera noted: `rotation` is counter-clockwise, in degrees."""
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
