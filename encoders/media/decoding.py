"""Decoding media files in limited processes: whatever is in a file, this process lives."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from encoders.extras import require
from encoders.media.facts import MediaFacts
from encoders.media.limits import DEFAULT_LIMITS, MediaLimits
from encoders.media.pool import ChildPool, Header, Question
from encoders.media.specs import AudioSpec, DecodeSpec, ImageSpec, VideoSpec, spec_json
from retrieval.errors import MediaTooLarge, MediaUnreadable, MissingExtra, TwinspireError

MAX_THUMBNAIL_BYTES = 1 << 20
RESAMPLER_SLACK = 4096  # samples that a resampler may add

Source: TypeAlias = bytes | Path
Span: TypeAlias = tuple[float, float] | None
Result = TypeVar("Result")
Read: TypeAlias = Callable[[Header, NDArray[np.uint8]], Result]

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
        self._pool = ChildPool(self.limits, max_children)

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; what is being decoded is given up."""
        self._pool.close()

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
        specs = {spec for _, spec, _ in requests}
        told = {spec: {"task": "decode", "spec": spec_json(spec)} for spec in specs}
        return self._ask(
            [
                self._question(told[spec] | {"span_s": span_s}, source, *_expected(spec))
                for source, spec, span_s in requests
            ]
        )

    def facts(self, source: Source) -> MediaFacts:
        """Look at a file: what it is, and whether it can be decoded.

        A picture is decoded whole, of sounds and videos the beginning and the end.

        Raises:
            MediaUnreadable: if it is damaged, or in no format that is read.
            MediaTooLarge: if it exceeds a cap.
            MissingExtra: if the library for its format is not installed.
        """
        return _only(self.all_facts([source]))

    def all_facts(self, sources: Sequence[Source]) -> list[MediaFacts | TwinspireError]:
        """Look at many files, as `facts` does, as many at a time as there are processes."""
        return self._ask([self._question({"task": "facts"}, source, 0, _facts) for source in sources])

    def thumbnail(self, source: Source) -> bytes:
        """Make a small WebP of a picture, or of a frame of a video. Raises as `facts` does."""
        return _only(self.thumbnails([source]))

    def thumbnails(self, sources: Sequence[Source]) -> list[bytes | TwinspireError]:
        """Make many thumbnails, as `thumbnail` does, as many at a time as there are processes.

        Raises:
            MissingExtra: if Pillow is not installed.
        """
        require("PIL", "image", "thumbnails")
        return self._ask(
            [
                self._question({"task": "thumbnail"}, source, MAX_THUMBNAIL_BYTES, _thumbnail)
                for source in sources
            ]
        )

    def _question(
        self, request: dict[str, Any], source: Source, max_bytes: int, read: Read[Result]
    ) -> Question[Result] | TwinspireError:
        if isinstance(source, Path):
            path = os.fsencode(source).decode("latin-1")
            return Question(request | {"path": path}, b"", max_bytes, _unless_error(read))
        if not source:
            return MediaUnreadable("media: expected a file, got no bytes")
        if len(source) > self.limits.max_image_bytes:
            return MediaTooLarge(f"media: expected at most {self.limits.max_image_bytes} bytes")
        return Question(request, source, max_bytes, _unless_error(read))

    def _ask(self, questions: Sequence[Question[Result] | TwinspireError]) -> list[Result | TwinspireError]:
        askable: Sequence[Question[Result]] = [each for each in questions if isinstance(each, Question)]
        answered = self._pool.ask(askable)
        answers = iter(answered)
        return [next(answers) if isinstance(each, Question) else each for each in questions]


def _only(outcomes: Sequence[Result | TwinspireError]) -> Result:
    """Return what came of a single file, or raise why nothing did."""
    (outcome,) = outcomes
    if isinstance(outcome, TwinspireError):
        raise outcome
    return outcome


def _unless_error(read: Read[Result]) -> Read[Result]:
    def checked(header: Header, body: NDArray[np.uint8]) -> Result:
        if "error" in header:
            raise _error(header)
        return read(header, body)

    return checked


def _facts(header: Header, body: NDArray[np.uint8]) -> MediaFacts:
    return MediaFacts(**header["facts"])


def _thumbnail(header: Header, body: NDArray[np.uint8]) -> bytes:
    return body.tobytes()


def _expected(spec: DecodeSpec) -> tuple[int, Read[NDArray[Any]]]:
    """Tell how many bytes of an answer there may be, and how they are read."""
    if isinstance(spec, AudioSpec):
        return 4 * (int(spec.sample_rate * spec.max_seconds) + RESAMPLER_SLACK), _samples
    shape = (spec.height, spec.width, 3) if isinstance(spec, ImageSpec) else _frames_shape(spec)
    return math.prod(shape), partial(_pixels, shape)


def _samples(header: Header, body: NDArray[np.uint8]) -> NDArray[np.float32]:
    if body.nbytes == 0 or body.nbytes % 4:
        raise MediaUnreadable("media: decoding gave nonsense")
    return body.view(np.float32)


def _pixels(shape: tuple[int, ...], header: Header, body: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if body.size != math.prod(shape):
        raise MediaUnreadable("media: decoding gave nonsense")
    return body.reshape(shape)


def _frames_shape(spec: VideoSpec) -> tuple[int, ...]:
    return (spec.frames, spec.image.height, spec.image.width, 3)


def _error(header: Header) -> TwinspireError:
    """Make the error that a decoding process tells of."""
    if header["error"] == MissingExtra.reason:
        module = str(header.get("module")).partition(".")[0]
        return MissingExtra("decoding this format", EXTRAS.get(module, "image,audio,video"))
    kind = MediaTooLarge if header["error"] == MediaTooLarge.reason else MediaUnreadable
    return kind(str(header.get("message", "media: unreadable")))
