"""Folders that are being filled: one process at a time, and what a killed one left is cleared away."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from retrieval.durable import lock_folder, sync_folder
from retrieval.errors import Conflict
from retrieval.workspace import translate_sqlite_errors

# What a file system says when it cannot link a file: take a copy then.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.EROFS}


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Hold an empty folder to work in; unless it was renamed meanwhile, it is removed at the end.

    The lock goes with the process, so what a killed one left behind is taken over.

    Raises:
        Conflict: if another process works in it.
        StorageFull, UnusableWorkspace: if the block cannot write.
    """
    with translate_sqlite_errors():
        folder.mkdir(parents=True, exist_ok=True)
        handle = _locked(folder)
        try:
            _clear(folder)
            yield folder
        finally:
            if _is_same(folder, handle):
                shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def _locked(folder: Path) -> int:
    handle = lock_folder(folder)
    if handle is not None and _is_same(folder, handle):
        return handle
    if handle is not None:  # the other process finished just now
        os.close(handle)
    raise Conflict(f"another process works in {folder.name}: wait for it to end")


def _is_same(folder: Path, handle: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def take_file(source: Path, target: Path, *, link: bool) -> bool:
    """Put a file elsewhere, durably: by a hard link where asked for and possible, or else as a copy.

    Returns:
        Whether it is a link.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(source.resolve(), target)
            return True
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
    shutil.copyfile(source, target)
    with target.open("rb") as copied:
        os.fsync(copied.fileno())
    return False


def sync_tree(folder: Path) -> None:
    """Make the names of all files and folders under a folder durable."""
    for inner in folder.rglob("*"):
        if inner.is_dir():
            sync_folder(inner)
    sync_folder(folder)


def seal_database(file: Path) -> None:
    """Turn a database that nobody has open into one file, without a log beside it."""
    with translate_sqlite_errors(), closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
