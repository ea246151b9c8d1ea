"""Files that hold one secret."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from retrieval.errors import InvalidInput

OWNER_ONLY = 0o600


@contextmanager
def new_secret(file: Path | None, otherwise: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Give what keeps a secret: it writes to a new file, or if there is to be none does as told otherwise.

    The file is made first, so that no secret is made that then cannot be kept.

    Raises:
        InvalidInput: if there is such a file already.
    """
    if file is None:
        yield otherwise
        return
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY)
    except FileExistsError:
        raise InvalidInput(f"{file} is there already: name a new file", field="out") from None
    try:
        with open(handle, "w", encoding="ascii") as out:
            yield partial(_write_line, out)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _write_line(out: TextIO, line: str) -> None:
    out.write(f"{line}\n")


def read_secret(file: Path) -> str:
    """Read the secret that a file holds alone.

    Raises:
        InvalidInput: if the file cannot be read, or holds none.
    """
    try:
        secret = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise InvalidInput(f"{file} cannot be read as a key", field="api_key") from None
    if not secret:
        raise InvalidInput(f"{file} is empty, expected a key", field="api_key")
    return secret
