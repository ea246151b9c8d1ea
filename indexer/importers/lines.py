"""Reading files line by line with bounded memory, whatever they hold, gzipped or not."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from retrieval.errors import UnreadableSource

MAX_LINE_BYTES = 16 << 20
GZIP_MAGIC = b"\x1f\x8b"
BUFFER_BYTES = 1 << 20
# Text shrinks five- to twentyfold; only a file made to fill memory or disk unpacks further than this.
MAX_GZIP_RATIO = 200
GZIP_RATIO_FREE_BYTES = 256 << 20

FOREIGN_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"SQLite format 3\x00": "a SQLite database",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text, not UTF-8",
    b"\xfe\xff": "UTF-16 text, not UTF-8",
}
UTF8_MARK = b"\xef\xbb\xbf"


class _Gzip(io.RawIOBase):
    """A gzip stream that stops at bombs, and blames the source for damage."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = gzip.open(path)  # noqa: SIM115 - `close` closes it
        self._limit = max(GZIP_RATIO_FREE_BYTES, MAX_GZIP_RATIO * path.stat().st_size)
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            got = self._file.readinto(buffer)
        except EOFError as error:
            raise UnreadableSource(f"{self._name}: the gzip file is cut off") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableSource(f"{self._name}: the gzip file is damaged") from error
        self._read += got
        if self._read > self._limit:
            raise UnreadableSource(f"{self._name}: unpacks to more than {MAX_GZIP_RATIO} times its size")
        return got

    def close(self) -> None:
        self._file.close()
        super().close()


def require_file(path: Path) -> None:
    """Refuse what is no file with content.

    Raises:
        UnreadableSource: if it is missing, not a file, empty, or unreadable.
    """
    try:
        if not path.exists():
            raise UnreadableSource(f"{path.name}: there is no such file")
        if not path.is_file():
            raise UnreadableSource(f"{path.name}: expected a file, got a folder")
        if path.stat().st_size == 0:
            raise UnreadableSource(f"{path.name}: the file is empty")
    except OSError as error:
        raise UnreadableSource(f"{path.name}: {error.strerror}") from error


def open_bytes(path: Path) -> BinaryIO:
    """Open a UTF-8 text file, unpacking gzip by its magic bytes, positioned after a byte order mark.

    Raises:
        UnreadableSource: if it is missing, empty, of another format, or unreadable.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            magic = file.read(16)
        opened: IO[bytes] = path.open("rb", buffering=BUFFER_BYTES)
    except OSError as error:
        raise UnreadableSource(f"{path.name}: {error.strerror}") from error
    if magic.startswith(GZIP_MAGIC):
        opened.close()
        opened = io.BufferedReader(_Gzip(path), BUFFER_BYTES)
    stream = cast(io.BufferedReader, opened)
    start = stream.peek(16)[:16]
    for foreign, what in FOREIGN_MAGIC.items():
        if start.startswith(foreign):
            stream.close()
            raise UnreadableSource(f"{path.name}: is {what}")
    if start.startswith(UTF8_MARK):
        stream.read(len(UTF8_MARK))
    return cast(BinaryIO, stream)


def lines(path: Path, *, blank: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number, from 1; blank ones only if asked for.

    A line above MAX_LINE_BYTES is yielded cut, one byte longer than that, and the rest is skipped.

    Raises:
        UnreadableSource: as `open_bytes`; or if a gzip file turns out damaged on the way.
    """
    with open_bytes(path) as stream:
        readline = stream.readline
        number = 0
        while line := readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := readline(BUFFER_BYTES)) and not rest.endswith(b"\n"):
                    pass
            if blank or not line.isspace():
                yield number, line
