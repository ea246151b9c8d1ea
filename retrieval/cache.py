"""Where downloads are kept, and what is made of them."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

CACHE_VARIABLE = "TWINSPIRE_CACHE"


def cache_folder() -> Path:
    """Return where downloads are kept: `$TWINSPIRE_CACHE`, or `~/.cache/twinspire`."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "twinspire")


def cached(name: str, fill: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, filled the first time.

    Two processes may fill it at once: it appears complete, by one rename.

    Args:
        name: of the folder; another one where other files are wanted.
        fill: writes the files into an empty folder. What it puts beside that folder does not stay.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".filling-") as temporary:
        ready = Path(temporary) / "files"
        ready.mkdir()
        fill(ready)
        try:
            ready.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    return folder
