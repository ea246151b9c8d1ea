"""Collections: named sets of items."""

import re
from dataclasses import dataclass

from retrieval.database import Database
from retrieval.errors import CollectionNotFound, InvalidInput
from retrieval.workspace import Workspace, now

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class CollectionCounts:
    """How much a collection holds."""

    items: int
    segments: int


def create_collection(ws: Workspace, name: str) -> None:
    """Create a collection; nothing happens if it is there already.

    Raises:
        InvalidInput: if the name is not 1 to 128 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"collection: expected 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or "
            f"digit, got {name[:140]!r}",
            field="collection",
        )
    if ws.fetch("SELECT 1 FROM collections WHERE name = ?", (name,)):
        return
    with ws.atomic() as db:
        created = db.execute(
            "INSERT OR IGNORE INTO collections(name, created_at) VALUES (?, ?)", (name, now())
        )
        if created.rowcount == 1:
            _create_text_index(db, name)


def _create_text_index(db: Database, name: str) -> None:
    # One table per collection: a BM25 score must not depend on other collections. Contentless: the text
    # is in `items` already, and items.py keeps both in step.
    rowid = db.execute("SELECT rowid FROM collections WHERE name = ?", (name,)).fetchone()[0]
    db.execute(
        f"CREATE VIRTUAL TABLE {text_index(rowid)} USING fts5(text, content='', tokenize='porter unicode61')"
    )


def text_index(rowid: int) -> str:
    """Name the full-text table of the collection with this rowid."""
    return f"items_fts_{rowid}"


def collection_names(ws: Workspace) -> list[str]:
    """List all collections by name."""
    return [name for (name,) in ws.fetch("SELECT name FROM collections ORDER BY name")]


def collection_rowid(ws: Workspace, name: str) -> int:
    """Return the rowid of a collection.

    Raises:
        CollectionNotFound: if there is none of this name.
    """
    # Also keeps what SQLite could not even compare, such as half of a surrogate pair, from reaching it.
    rows = ws.fetch("SELECT rowid FROM collections WHERE name = ?", (name,)) if _NAME.fullmatch(name) else []
    if not rows:
        raise CollectionNotFound(name[:140].encode("ascii", "backslashreplace").decode())
    return int(rows[0][0])


def require_collection(ws: Workspace, name: str) -> None:
    """Check that a collection exists.

    Raises:
        CollectionNotFound: if there is none of this name.
    """
    collection_rowid(ws, name)


def delete_collection(ws: Workspace, name: str) -> None:
    """Delete a collection with its items, vectors, queries and versions (but not the files of versions).

    Raises:
        CollectionNotFound: if there is none of this name.
    """
    with ws.atomic() as db:
        rowid = collection_rowid(ws, name)
        db.execute(f"DROP TABLE {text_index(rowid)}")
        db.execute("DELETE FROM collections WHERE rowid = ?", (rowid,))


def count(ws: Workspace, name: str) -> CollectionCounts:
    """Count the items and segments of a collection.

    Raises:
        CollectionNotFound: if there is none of this name.
    """
    rowid = collection_rowid(ws, name)
    items, segments = ws.fetch(
        "SELECT items, (SELECT count(*) FROM segments WHERE collection = collections.rowid)"
        " FROM collections WHERE rowid = ?",
        (rowid,),
    )[0]
    return CollectionCounts(items, segments)
