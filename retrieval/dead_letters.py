"""What could not be read: files that did not become items, and items that an encoder could not read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.collections import collection_rowid
from retrieval.workspace import Workspace, now


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something that was set aside, and why."""

    uri: str
    reason: str  # of the error: MEDIA_UNREADABLE, ...
    message: str
    segment: int | None = None  # None: the file did not become an item
    encoder: str | None = None  # the fingerprint of the encoder that could not read the segment


def put_dead_letters(ws: Workspace, collection: str, letters: Sequence[DeadLetter]) -> None:
    """Set aside; what was set aside before under the same uri, segment and encoder is replaced."""
    owner = collection_rowid(ws, collection)
    created_at = now()
    with ws.atomic() as db:
        for letter in letters:
            db.execute(
                "DELETE FROM dead_letters WHERE collection = ? AND uri = ? AND segment IS ? AND encoder IS ?",
                (owner, letter.uri, letter.segment, letter.encoder),
            )
            db.execute(
                "INSERT INTO dead_letters(collection, uri, segment, encoder, reason, message, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    owner,
                    letter.uri,
                    letter.segment,
                    letter.encoder,
                    letter.reason,
                    letter.message,
                    created_at,
                ),
            )


def inherit_dead_letters(ws: Workspace, collection: str, features: str, encoder: str) -> None:
    """Set aside for an encoder what was set aside for the frozen model whose features it fuses."""
    owner = collection_rowid(ws, collection)
    with ws.atomic() as db:
        db.execute(
            "INSERT INTO dead_letters(collection, uri, segment, encoder, reason, message, created_at)"
            " SELECT collection, uri, segment, ?, reason, message, created_at FROM dead_letters AS letter"
            " WHERE collection = ? AND encoder = ? AND NOT EXISTS (SELECT 1 FROM dead_letters"
            "  WHERE segment = letter.segment AND encoder = ?)",
            (encoder, owner, features, encoder),
        )


def dead_letters(ws: Workspace, collection: str) -> list[DeadLetter]:
    """List what was set aside, the oldest first."""
    rows = ws.fetch(
        "SELECT uri, reason, message, segment, encoder FROM dead_letters WHERE collection = ? ORDER BY rowid",
        (collection_rowid(ws, collection),),
    )
    return [DeadLetter(*row) for row in rows]


def clear_dead_letters(ws: Workspace, collection: str) -> int:
    """Forget what was set aside: the next job tries again.

    Returns:
        The number of letters.
    """
    with ws.atomic() as db:
        deleted = db.execute(
            "DELETE FROM dead_letters WHERE collection = ?", (collection_rowid(ws, collection),)
        )
        return deleted.rowcount


def clear_file_letters(ws: Workspace, collection: str, uris: Sequence[str]) -> None:
    """Forget about files that became items after all."""
    with ws.atomic() as db:
        db.execute(
            "DELETE FROM dead_letters WHERE collection = ? AND segment IS NULL"
            " AND uri IN (SELECT value FROM json_each(?))",
            (collection_rowid(ws, collection), json.dumps(uris)),
        )
