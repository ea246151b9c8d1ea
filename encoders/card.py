"""Encoder cards: what identifies one version of an encoder, and its fingerprint."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retrieval.errors import CorruptArtifact, NewerFormat

CARD_FILE = "card.json"
CARD_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCard:
    """Everything a reader needs to judge an encoder version, and a machine to load it.

    The fingerprint covers `kind`, `modalities`, `dims`, `max_words`, `preprocessing`, `architecture` and
    the sha256 of each file: all that can change a vector, and nothing else.
    """

    kind: str  # which loader: "two_tower", ...
    name: str
    version: int
    modalities: tuple[str, ...]
    dims: int
    max_words: int  # words of a text the encoder reads; 0 = no limit
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # file name -> sha256, hex
    training_data_digest: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)  # config and seed, as told
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Sha256, in hex, over everything that can change a vector."""
        parts = {
            "kind": self.kind,
            "modalities": sorted(self.modalities),
            "dims": self.dims,
            "max_words": self.max_words,
            "preprocessing": self.preprocessing,
            "architecture": self.architecture,
            "files": self.files,
        }
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """Serialise, with the fingerprint in clear, so that a reader of the file sees it."""
        body = asdict(self) | {"format": CARD_FORMAT, "fingerprint": self.fingerprint}
        return json.dumps(body, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "EncoderCard":
        """Read a card and check it against its own fingerprint.

        Raises:
            CorruptArtifact: if the text is no card, or the fingerprint differs.
            NewerFormat: if a later version of the software wrote it.
        """
        try:
            body = json.loads(text)
            if body.pop("format") > CARD_FORMAT:
                raise NewerFormat("the encoder card was written by a later Twinspire: upgrade")
            claimed = body.pop("fingerprint")
            card = cls(**body | {"modalities": tuple(body["modalities"])})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorruptArtifact(f"{CARD_FILE} is not an encoder card") from error
        if card.fingerprint != claimed:
            raise CorruptArtifact(f"{CARD_FILE} does not match its own fingerprint")
        return card


def read_card(folder: Path) -> EncoderCard:
    """Read the card of a model folder and check every file's sha256 against it.

    Raises:
        CorruptArtifact: if a file is missing or its bytes differ from the card's.
        NewerFormat: if a later version of the software wrote the card.
    """
    try:
        card = EncoderCard.from_json((folder / CARD_FILE).read_text())
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"model {folder.name}: no readable {CARD_FILE}") from error
    for name, expected in card.files.items():
        try:
            with (folder / name).open("rb") as file:
                got = hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise CorruptArtifact(f"model {card.name}@{card.version}: {name} is missing") from error
        if got != expected:
            raise CorruptArtifact(
                f"model {card.name}@{card.version}: {name} has sha256 {got[:12]}, expected {expected[:12]}"
            )
    return card
