"""A media file as the decoding process holds it: its bytes, or its path."""

import os
import stat
from io import BytesIO
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


class MediaSource:
    """An open media file, whose format is known. It is closed by `close`."""

    def __init__(self, media: bytes | str) -> None:
        """Open bytes, or the file of a path.

        Raises:
            MediaUnreadable: if there is nothing, or nothing that is read here.
        """
        self.file: BinaryIO = BytesIO(media) if isinstance(media, bytes) else _open(media)
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
        maximum = {
            "image": limits.max_image_bytes,
            "audio": limits.max_audio_bytes,
            "video": limits.max_video_bytes,
        }[modality]
        if self.size > maximum:
            raise MediaTooLarge(f"{modality}: expected at most {maximum} bytes, got {self.size}")

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()


def _open(path: str) -> BinaryIO:
    try:
        # Not to wait for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        raise MediaUnreadable("media: the file is not there, or may not be read") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MediaUnreadable("media: expected a file, got something else")
    return os.fdopen(descriptor, "rb")
