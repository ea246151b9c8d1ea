"""Writing model folders: the files first, the card last, each durable before the next."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from encoders.card import CARD_FILE, EncoderCard
from retrieval.durable import write_durably
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
