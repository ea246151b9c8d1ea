"""The process that decodes: limited in memory, time and files, and lost without loss.

Its parent starts it (`encoders.media.child_process`), writes requests to its standard input and reads
answers from its standard output. It imports what decodes only when it is asked to.
"""

import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO

from encoders.media.limits import MediaLimits
from encoders.media.patience import TURNS
from encoders.media.source import MediaSource
from encoders.media.specs import AudioSpec, ImageSpec, parse_spec
from encoders.media.wire import LENGTH, frame_head
from retrieval.errors import InvalidInput, MediaTooLarge

OPEN_FILES = 64
GRACE_S = 5  # the parent ends us earlier


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    limits = MediaLimits(**json.loads(sys.argv[1]))
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    confine(limits)
    send(answers, {"ready": True}, ())
    requests = sys.stdin.buffer
    while length := requests.read(LENGTH.size):
        request = json.loads(requests.read(LENGTH.unpack(length)[0]))
        media = requests.read(request["size"]) if request["size"] else path_of(request)
        limit_time(limits)
        header, body = answer(request, media, limits)
        send(answers, header, body)
        if header.get("error") == MediaTooLarge.reason and header.get("out_of_memory"):
            return  # what is left of the memory may be in pieces


def path_of(request: dict[str, Any]) -> str:
    """Read a path, which is sent byte by byte: not every name is text."""
    return os.fsdecode(request["path"].encode("latin-1"))


def confine(limits: MediaLimits) -> None:
    """Bound memory and open files, and forbid to write any."""
    for what, amount in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        with suppress(ValueError, OSError):  # a system that knows no such limit, or has a lower one
            resource.setrlimit(what, (amount, amount))


def limit_time(limits: MediaLimits) -> None:
    """Let the system end this process if a file takes too long, even if the parent is gone."""
    used = math.ceil(time.process_time())
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (used + limits.cpu_s, hard))
    signal.setitimer(signal.ITIMER_REAL, limits.timeout_s * TURNS + GRACE_S)


def send(answers: BinaryIO, header: dict[str, Any], body: Sequence[bytes | memoryview]) -> None:
    """Write an answer."""
    size = sum(memoryview(part).nbytes for part in body)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for part in (frame_head(header | {"size": size}), *body):
        rest = memoryview(part).cast("B")
        while rest:
            rest = rest[answers.write(rest) :]


def answer(
    request: dict[str, Any], media: bytes | str, limits: MediaLimits
) -> tuple[dict[str, Any], Sequence[bytes | memoryview]]:
    """Do what a request asks: a header, and the bytes of the result in parts."""
    try:
        source = MediaSource(media)
        try:
            return _TASKS[request["task"]](source, request, limits)
        finally:
            source.close()
    except InvalidInput as error:
        return {"error": error.reason, "message": str(error)}, ()
    except MemoryError:
        message = "media: it needs more memory than one file may take"
        return {"error": MediaTooLarge.reason, "message": message, "out_of_memory": True}, ()
    except ModuleNotFoundError as error:
        return {"error": "MISSING_EXTRA", "module": error.name}, ()
    except Exception as error:  # what a library makes of a damaged file that we do not know of
        return {"error": "MEDIA_UNREADABLE", "message": f"media: damaged ({type(error).__name__})"}, ()


def _decode(
    source: MediaSource, request: dict[str, Any], limits: MediaLimits
) -> tuple[dict[str, Any], Sequence[bytes | memoryview]]:
    spec = parse_spec(request["spec"])
    if isinstance(spec, ImageSpec):
        from encoders.media.images import decode_image

        return {}, (decode_image(source, spec, limits),)
    if isinstance(spec, AudioSpec):
        from encoders.media.sounds import decode_sound

        return {}, decode_sound(source, spec, request["span_s"], limits)
    from encoders.media.videos import decode_video

    return {}, (decode_video(source, spec, request["span_s"], limits),)


def _facts(
    source: MediaSource, request: dict[str, Any], limits: MediaLimits
) -> tuple[dict[str, Any], Sequence[bytes | memoryview]]:
    if source.kind.family == "image":
        from encoders.media.images import image_facts

        return {"facts": asdict(image_facts(source, limits))}, ()
    if source.kind.family == "sound":
        from encoders.media.sounds import sound_facts

        return {"facts": asdict(sound_facts(source, limits))}, ()
    from encoders.media.videos import container_facts

    return {"facts": asdict(container_facts(source, limits))}, ()


def _thumbnail(
    source: MediaSource, request: dict[str, Any], limits: MediaLimits
) -> tuple[dict[str, Any], Sequence[bytes | memoryview]]:
    if source.kind.family == "image":
        from encoders.media.images import image_thumbnail

        return {}, (image_thumbnail(source, limits),)
    from encoders.media.videos import video_thumbnail

    return {}, (video_thumbnail(source, limits),)


_TASKS = {"decode": _decode, "facts": _facts, "thumbnail": _thumbnail}
