"""Decoding media files in limited processes: whatever is in a file, this process lives."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from encoders.extras import require
from encoders.media.child_process import ChildDied, ChildGone, ChildProcess
from encoders.media.facts import MediaFacts
from encoders.media.limits import DEFAULT_LIMITS, MediaLimits
from encoders.media.specs import AudioSpec, DecodeSpec, ImageSpec, VideoSpec, spec_json
from retrieval.deadlines import time_left_s, work_until
from retrieval.errors import (
    DeadlineExceeded,
    MediaTooLarge,
    MediaUnreadable,
    MissingExtra,
    TwinspireError,
)

MAX_CHILDREN = 16
# A process that has answered so often gives way to a new one: no leak of a library adds up.
FILES_PER_CHILD = 2_000
MAX_THUMBNAIL_BYTES = 1 << 20
RESAMPLER_SLACK = 4096  # samples that a resampler may add

Source: TypeAlias = bytes | Path
Span: TypeAlias = tuple[float, float] | None
Result = TypeVar("Result")

# By the module that a decoding process missed: the extra that brings it.
EXTRAS = {"PIL": "image", "soundfile": "audio", "soxr": "audio", "av": "video"}
WHAT = {ImageSpec: "decoding pictures", AudioSpec: "decoding sounds", VideoSpec: "decoding videos"}
MODULES = {ImageSpec: ("PIL",), AudioSpec: ("soundfile", "soxr"), VideoSpec: ("av",)}


class Decoder:
    """A pool of processes that decode media files. It may be used from several threads.

    The processes start when they are first needed and end with the pool. What crashes, hangs or outgrows
    one costs that process, and an error for that file.
    """

    def __init__(
        self,
        *,
        max_children: int | None = None,
        timeout_s: float | None = None,
        limits: MediaLimits = DEFAULT_LIMITS,
    ) -> None:
        """Make a pool; nothing is started yet.

        Args:
            max_children: how many processes work at a time; None = one for each processor.
            timeout_s: how long one file may take; None = as the limits say.
            limits: caps on files and processes.
        """
        self.limits = limits if timeout_s is None else replace(limits, timeout_s=timeout_s)
        self.max_children = max_children or usual_children()
        self._turns = threading.BoundedSemaphore(self.max_children)  # whoever holds one may ask a process
        self._threads = ThreadPoolExecutor(self.max_children, "decode")
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; what is being decoded is given up."""
        with self._lock:
            self._closed = True
            children, self._idle = list(self._all), []
        for child in children:
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in children:
            child.end()

    def decode(
        self, requests: Sequence[tuple[Source, DecodeSpec, Span]]
    ) -> list[NDArray[Any] | TwinspireError]:
        """Decode files, as many at a time as there are processes, until the deadline of the thread's work.

        Args:
            requests: bytes or a path; how to decode; the seconds that are meant, or None for all.

        Returns:
            In the order of the requests, what the spec says or why there is none: MediaUnreadable,
            MediaTooLarge, DeadlineExceeded, or MissingExtra where only this format needs another library.

        Raises:
            MissingExtra: if what a spec needs is not installed.
        """
        for kind in {type(spec) for _, spec, _ in requests}:
            for module in MODULES[kind]:
                require(module, EXTRAS[module], WHAT[kind])
        left_s = time_left_s()
        until = None if left_s is None else time.perf_counter() + left_s  # for the threads of the pool

        def decode(request: tuple[Source, DecodeSpec, Span]) -> NDArray[Any]:
            with work_until(until):
                return self._decode(*request)

        return self._each(decode, requests)

    def facts(self, source: Source) -> MediaFacts:
        """Look at a file: what it is, and whether it can be decoded.

        A picture is decoded whole, of sounds and videos the beginning and the end.

        Raises:
            MediaUnreadable: if it is damaged, or in no format that is read.
            MediaTooLarge: if it exceeds a cap.
            MissingExtra: if the library for its format is not installed.
        """
        header, _ = self._ask({"task": "facts"}, source, 0)
        return MediaFacts(**header["facts"])

    def all_facts(self, sources: Sequence[Source]) -> list[MediaFacts | TwinspireError]:
        """Look at many files, as `facts` does, as many at a time as there are processes."""
        return self._each(self.facts, sources)

    def thumbnail(self, source: Source) -> bytes:
        """Make a small WebP of a picture, or of a frame of a video. Raises as `facts` does."""
        require("PIL", "image", "thumbnails")
        return self._ask({"task": "thumbnail"}, source, MAX_THUMBNAIL_BYTES)[1].tobytes()

    def thumbnails(self, sources: Sequence[Source]) -> list[bytes | TwinspireError]:
        """Make many thumbnails, as `thumbnail` does, as many at a time as there are processes.

        Raises:
            MissingExtra: if Pillow is not installed.
        """
        require("PIL", "image", "thumbnails")
        return self._each(self.thumbnail, sources)

    def _each(self, work: Callable[[Any], Result], inputs: Sequence[Any]) -> list[Result | TwinspireError]:
        def guarded(what: Any) -> Result | TwinspireError:
            try:
                return work(what)
            except TwinspireError as error:
                return error

        if len(inputs) == 1:  # no thread is needed that would only be waited for
            return [guarded(inputs[0])]
        return list(self._threads.map(guarded, inputs))

    def _decode(self, source: Source, spec: DecodeSpec, span_s: Span) -> NDArray[Any]:
        request = {"task": "decode", "spec": spec_json(spec), "span_s": span_s}
        if isinstance(spec, AudioSpec):
            most = int(spec.sample_rate * spec.max_seconds) + RESAMPLER_SLACK
            values = self._ask(request, source, 4 * most)[1]
            if values.nbytes == 0 or values.nbytes % 4:
                raise MediaUnreadable("media: decoding gave nonsense")
            return values.view(np.float32)
        shape = (spec.height, spec.width, 3) if isinstance(spec, ImageSpec) else _frames_shape(spec)
        values = self._ask(request, source, int(np.prod(shape)))[1]
        if values.size != np.prod(shape):
            raise MediaUnreadable("media: decoding gave nonsense")
        return values.reshape(shape)

    def _ask(
        self, request: dict[str, Any], source: Source, max_bytes: int
    ) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        media = b"" if isinstance(source, Path) else source
        if isinstance(source, Path):
            request = request | {"path": os.fsencode(source).decode("latin-1")}
        elif not source:
            raise MediaUnreadable("media: expected a file, got no bytes")
        if len(media) > self.limits.max_image_bytes:
            raise MediaTooLarge(f"media: expected at most {self.limits.max_image_bytes} bytes")
        if not self._turns.acquire(timeout=time_left_s()):
            raise DeadlineExceeded("media: no time was left to decode it")
        try:
            header, body = self._ask_one(request, media, max_bytes)
        finally:
            self._turns.release()
        if "error" in header:
            raise _error(header)
        return header, body

    def _ask_one(
        self, request: dict[str, Any], media: bytes, max_bytes: int
    ) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        while True:
            child = self._take()
            try:
                return child.ask(request, media, max_bytes, time_left_s())
            except ChildGone:
                continue
            except ChildDied as death:
                if self._closed:
                    raise RuntimeError("the decoder was closed") from None  # the file is not to blame
                if time_left_s() == 0:
                    raise DeadlineExceeded(
                        "media: decoding took longer than the time that was left"
                    ) from None
                raise MediaUnreadable(f"media: {death}") from None
            finally:
                self._give_back(child)

    def _take(self) -> ChildProcess:
        """Take an idle process, or start one: as many ask at a time as there are turns."""
        while True:
            with self._lock:
                if self._closed:
                    raise RuntimeError("the decoder is closed")
                child = self._idle.pop() if self._idle else None
            if child is None:
                break
            if child.alive:
                return child
            self._discard(child)
        child = ChildProcess(self.limits)
        with self._lock:
            self._all.add(child)
        return child

    def _give_back(self, child: ChildProcess) -> None:
        with self._lock:
            worn = child.leaving or child.answered >= FILES_PER_CHILD
            if child.alive and not worn and not self._closed:
                self._idle.append(child)
                return
        self._discard(child)

    def _discard(self, child: ChildProcess) -> None:
        child.end()
        with self._lock:
            self._all.discard(child)


def usual_children() -> int:
    """Return how many processes a pool has that is not told: one for each processor."""
    return min(MAX_CHILDREN, _processors())


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _frames_shape(spec: VideoSpec) -> tuple[int, ...]:
    return (spec.frames, spec.image.height, spec.image.width, 3)


def _error(header: dict[str, Any]) -> TwinspireError:
    """Make the error that a decoding process tells of."""
    if header["error"] == MissingExtra.reason:
        module = str(header.get("module")).partition(".")[0]
        return MissingExtra("decoding this format", EXTRAS.get(module, "image,audio,video"))
    kind = MediaTooLarge if header["error"] == MediaTooLarge.reason else MediaUnreadable
    return kind(str(header.get("message", "media: unreadable")))
