"""Writing model folders: the files first, the card last, each durable before the next."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from encoders.card import CARD_FILE, EncoderCard
from retrieval.workspace import translate_sqlite_errors


def write_model(
    folder: Path, card: EncoderCard, files: Mapping[str, bytes], *, beside: Mapping[str, bytes] | None = None
) -> EncoderCard:
    """Write a model folder. A crash leaves a folder without a card, which is none.

    Args:
        folder: where to; made if missing.
        card: the card, without its `files`.
        files: what the encoder's vectors depend on; their sha256 go on the card.
        beside: files that no vector depends on.

    Returns:
        The card as it was written.

    Raises:
        StorageFull: if the disk is full.
        UnusableWorkspace: if the folder cannot be written.
    """
    with translate_sqlite_errors():
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (*files.items(), *(beside or {}).items()):
            write_durably(folder / name, content)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        card = replace(card, files=digests)
        write_durably(folder / CARD_FILE, card.to_json().encode())
    return card


def write_durably(file: Path, content: bytes) -> None:
    """Replace a file in one step: a crash leaves the old one or the new one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
