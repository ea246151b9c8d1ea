"""Writing model folders: the files first, the card last, each durable before the next."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from encoders.card import CARD_FILE, EncoderCard
from retrieval.durable import sync_folder, write_durably
from retrieval.workspace import translate_sqlite_errors


def write_model(
    folder: Path,
    card: EncoderCard,
    files: Mapping[str, bytes | Path],
    *,
    beside: Mapping[str, bytes] | None = None,
) -> EncoderCard:
    """Write a model folder. A crash leaves a folder without a card, which is none.

    Args:
        folder: where to; made if missing.
        card: the card, without its `files`.
        files: what the encoder's vectors depend on, by name (which may hold slashes): bytes, or a file to
            copy, which shares its blocks with the copy where the disk can; their sha256 go on the card.
        beside: files that no vector depends on.

    Returns:
        The card as it was written.

    Raises:
        StorageFull: if the disk is full.
        UnusableWorkspace: if the folder cannot be written.
    """
    with translate_sqlite_errors():
        folder.mkdir(parents=True, exist_ok=True)
        digests = {}
        for name, content in (*files.items(), *(beside or {}).items()):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                _copy(content, target)
            else:
                write_durably(target, content)
            with target.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        card = replace(card, files={name: digests[name] for name in files})
        write_durably(folder / CARD_FILE, card.to_json().encode())
    return card


def model_files(folder: Path, card: EncoderCard, prefix: str) -> dict[str, Path]:
    """List the files of a model as parts of another one, whose folder holds it under the prefix."""
    return {f"{prefix}/{name}": folder / name for name in (*card.files, CARD_FILE)}


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    sync_folder(target.parent)
