"""What a WAV file's header claims, checked against the file: libsndfile mends such lies in silence."""

import os
import struct

from encoders.media.source import MediaSource
from retrieval.errors import MediaUnreadable

MAX_CHUNKS = 1_000


def check_wav(source: MediaSource) -> None:
    """Walk the chunks up to the samples.

    Raises:
        MediaUnreadable: if the samples are missing, or the header promises more of them than there are.
    """
    if source.file.read(4) != b"RIFF":  # RF64: files over 4 GB keep their sizes elsewhere
        source.file.seek(0)
        return
    source.file.seek(12)
    try:
        for _ in range(MAX_CHUNKS):
            name, size = struct.unpack("<4sI", source.file.read(8))
            if name == b"data":
                left = source.size - source.file.tell()
                if size > left:
                    raise MediaUnreadable(
                        f"audio: the header promises {size} bytes of samples, the file holds {left}"
                    )
                return
            source.file.seek(size + size % 2, os.SEEK_CUR)
    except struct.error:
        pass
    finally:
        source.file.seek(0)
    raise MediaUnreadable("audio: expected samples, got a WAV without any")
