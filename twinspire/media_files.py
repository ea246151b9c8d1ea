"""Files on the command line that are not lists of texts but pictures, sounds or videos."""

import mimetypes
from pathlib import Path

from encoders.media.sniffing import HEAD_BYTES, sniff


def media_kind(file: Path) -> str:
    """Tell what a file is: "image", "audio" or "video"; empty if it is none of them.

    Its first bytes decide; where they fit sounds and videos alike, its name does.

    Raises:
        OSError: if it cannot be read.
    """
    with file.open("rb") as opened:
        kind = sniff(opened.read(HEAD_BYTES))
    if kind is None:
        return ""
    named = (mimetypes.guess_type(file.name)[0] or "").partition("/")[0]
    told = kind.mime_type.partition("/")[0]
    return named if kind.family == "container" and named in ("audio", "video") else told
