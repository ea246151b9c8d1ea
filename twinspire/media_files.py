"""Files of queries on the command line: pictures, sounds, videos, or lines of text."""

import mimetypes
from pathlib import Path

from encoders.media.sniffing import HEAD_BYTES, sniff
from encoders.media.source import open_file
from retrieval.errors import InvalidInput

MAX_LINES_BYTES = 64 << 20


def media_kind(file: Path) -> str:
    """Tell what a file is: "image", "audio" or "video"; empty if it is none of them.

    Its first bytes decide; where they fit sounds and videos alike, its name does.

    Raises:
        MediaUnreadable: if it is no file, or cannot be read.
    """
    with open_file(file, f"@{file}") as opened:
        kind = sniff(opened.read(HEAD_BYTES))
    if kind is None:
        return ""
    named = (mimetypes.guess_type(file.name)[0] or "").partition("/")[0]
    told = kind.mime_type.partition("/")[0]
    return named if kind.family == "container" and named in ("audio", "video") else told


def read_lines(file: Path) -> list[str]:
    """Read a file of queries, one a line; blank lines are left out.

    Raises:
        MediaUnreadable: if it is no file, or cannot be read.
        InvalidInput: if it is empty, too large, or no UTF-8.
    """
    name = f"@{file}"
    with open_file(file, name) as opened:
        content = opened.read(MAX_LINES_BYTES + 1)
    if len(content) > MAX_LINES_BYTES:
        raise InvalidInput(f"{name}: expected at most {MAX_LINES_BYTES} bytes of queries, got more")
    if not content:
        raise InvalidInput(f"{name}: expected queries, a picture, a sound or a video, got an empty file")
    return lines_of(content, name)


def lines_of(content: bytes, name: str) -> list[str]:
    """Split queries into lines; blank ones are left out.

    Raises:
        InvalidInput: if they are no UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{name}: expected lines of UTF-8, a picture, a sound or a video, got"
            f" the byte {content[error.start]:#04x} at {error.start:,}"
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip()]
