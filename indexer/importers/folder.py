"""A folder of media files and texts: what is in it, and what of it is imported."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.errors import UnreadableSource

TEXT_SUFFIXES = frozenset((".txt", ".md"))
# What a media file is, its bytes say; its name only says whether to look at it.
_PICTURES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"))
_SOUNDS = frozenset((".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a"))
_VIDEOS = frozenset((".mp4", ".m4v", ".mov", ".webm", ".mkv"))
MEDIA_SUFFIXES = _PICTURES | _SOUNDS | _VIDEOS
METADATA_FILE = "metadata.csv"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to import."""

    path: Path
    relative: str  # to the folder, with slashes
    size: int
    modified_ns: int

    @property
    def is_text(self) -> bool:
        """Whether it is read as text."""
        return self.path.suffix.lower() in TEXT_SUFFIXES

    @property
    def folder(self) -> str:
        """The sub-folder that it lies in; empty at the top."""
        return self.relative.rpartition("/")[0]


@dataclass(slots=True)
class Listing:
    """What is in a folder."""

    files: list[FoundFile] = field(default_factory=list)  # by their relative names
    skipped: Counter[str] = field(default_factory=Counter)  # by why


def list_folder(folder: Path, *, without: Path | None = None) -> Listing:
    """List a folder and its sub-folders.

    Hidden files and folders, other formats, and links are skipped and counted, but for links to files
    within the folder.

    Args:
        folder: the folder.
        without: a file that is not to be imported.

    Raises:
        UnreadableSource: if there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise UnreadableSource(f"{folder.name}: expected a folder")
    base = folder.resolve()
    listing = Listing()
    for entry in _walk(base, listing.skipped):
        path = Path(entry.path)
        if without is not None and path.resolve() == without.resolve():
            continue
        if path.suffix.lower() not in TEXT_SUFFIXES | MEDIA_SUFFIXES:
            listing.skipped["other formats"] += 1
            continue
        stat = entry.stat()
        relative = path.relative_to(base).as_posix()
        listing.files.append(FoundFile(path, relative, stat.st_size, stat.st_mtime_ns))
    listing.files.sort(key=lambda file: file.relative)
    return listing


def _walk(base: Path, skipped: Counter[str]) -> Iterator["os.DirEntry[str]"]:
    folders = [base]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            if folder == base:
                raise UnreadableSource(f"{base.name}: {error.strerror}") from error
            skipped["unreadable folders"] += 1
            continue
        for entry in found:
            if entry.name.startswith("."):
                skipped["hidden"] += 1
            elif entry.is_symlink() and not _stays(Path(entry.path), base):
                skipped["links"] += 1
            elif entry.is_dir():
                folders.append(Path(entry.path))
            elif entry.is_file():
                yield entry
            else:  # a pipe, a socket
                skipped["other formats"] += 1


def _stays(link: Path, base: Path) -> bool:
    """Whether a link leads to a file within the folder. One to a folder might go in circles."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # it leads nowhere, or in circles
        return False
    return target.is_file() and target.is_relative_to(base)
