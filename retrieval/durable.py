"""Writing files that survive a crash: whole, or not at all."""

import fcntl
import os
from pathlib import Path

from retrieval.failpoints import failpoint
from retrieval.workspace import translate_sqlite_errors


def write_durably(file: Path, content: bytes, *, mode: int | None = None) -> None:
    """Replace a file in one step: after a crash the old one is there, or the new one.

    Args:
        file: what to replace or make.
        content: all of it.
        mode: its permissions, before anything is in it; None leaves them to the umask.

    Raises:
        StorageFull: if the disk is full; nothing of the new file is left.
        UnusableWorkspace: if the folder cannot be written.
    """
    staged = file.with_name(f".{file.name}.{os.getpid()}.part")
    with translate_sqlite_errors():
        try:
            with staged.open("wb") as out:
                if mode is not None:
                    os.fchmod(out.fileno(), mode)
                out.write(content)
                failpoint(f"{file.stem}-half-written")
                out.flush()
                os.fsync(out.fileno())
            failpoint(f"{file.stem}-not-renamed")
            staged.replace(file)
        finally:
            staged.unlink(missing_ok=True)
        sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock_folder(folder: Path) -> int | None:
    """Lock a folder that is there, until the handle is closed or the process ends, however it ends.

    Returns:
        A handle of the system's; None if another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
