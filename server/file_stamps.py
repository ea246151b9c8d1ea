"""Noticing that a file was replaced or changed."""

from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int, int] | None


def stamp_of(file: Path) -> Stamp:
    """Return what differs once a file was changed; links are followed, None stands for no file."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
