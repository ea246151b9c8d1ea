"""A media file as the decoding process holds it: its bytes, or its path."""

import os
import stat
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO

from encoders.media.limits import MediaLimits
from encoders.media.sniffing import (
    AUDIO_FORMATS,
    HEAD_BYTES,
    IMAGE_FORMATS,
    VIDEO_FORMATS,
    Kind,
    sniff,
)
from retrieval.errors import MediaTooLarge, MediaUnreadable

FORMATS = {"image": IMAGE_FORMATS, "audio": AUDIO_FORMATS, "video": VIDEO_FORMATS}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class MediaSource:
    """An open media file, whose format is known. It is closed by `close`."""

    def __init__(self, media: bytes | str) -> None:
        """Open bytes, or the file of a path.

        Raises:
            MediaUnreadable: if there is nothing, or nothing that is read here.
        """
        self.file: BinaryIO = BytesIO(media) if isinstance(media, bytes) else open_file(media)
        self.size = self.file.seek(0, os.SEEK_END)
        self.file.seek(0)
        head = self.file.read(HEAD_BYTES)
        self.file.seek(0)
        if not head:
            raise MediaUnreadable("media: expected a file, got no bytes")
        kind = sniff(head)
        if kind is None:
            raise MediaUnreadable("media: its bytes are of no picture, sound or video format that is read")
        self.kind: Kind = kind

    def require(self, modality: str, families: tuple[str, ...], limits: MediaLimits) -> None:
        """Check that this can be a file of a modality, and is not too large.

        Raises:
            MediaUnreadable: if its format is another one.
            MediaTooLarge: if the file is too large.
        """
        if self.kind.family not in families:
            raise MediaUnreadable(f"{modality}: expected {FORMATS[modality]}, got {self.kind.mime_type}")
        maximum = limits.max_bytes(modality)
        if self.size > maximum:
            raise MediaTooLarge(f"{modality}: expected at most {maximum} bytes, got {self.size}")

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()


def open_file(path: str | Path, field: str = "media") -> BufferedReader:
    """Open a file: nothing else is opened, or waited for.

    Args:
        path: of the file.
        field: names it in errors.

    Raises:
        MediaUnreadable: if it is not there, may not be read, or is a folder, a pipe, a socket or a device.
    """
    try:
        _require_file(os.stat(path).st_mode, field)  # before it is opened: a device may do something then
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        message = f"{field}: expected a file, got one that is not there, or may not be read"
        raise MediaUnreadable(message, field=field) from None
    file = os.fdopen(descriptor, "rb")
    try:
        _require_file(os.fstat(descriptor).st_mode, field)  # by now it may be another one
    except MediaUnreadable:
        file.close()
        raise
    return file


def _require_file(mode: int, field: str) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise MediaUnreadable(f"{field}: expected a file, got {kind}", field=field)
