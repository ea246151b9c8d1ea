"""BM25 over the texts of a collection, by SQLite's FTS5."""

import re
from collections.abc import Sequence

from retrieval.collections import collection_rowid, text_index
from retrieval.filter_sql import SqlCondition
from retrieval.segments import as_json
from retrieval.workspace import Workspace

MAX_TERMS = 128
# Letters and digits, with the combining marks that belong to them.
_TERM = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+")


def lexical_search(
    ws: Workspace, collection: str, text: str, limit: int, *, allowed: SqlCondition | None = None
) -> list[tuple[int, str, float]]:
    """Find the items whose text fits best by BM25; one term in common is enough.

    Args:
        ws: the workspace.
        collection: to search.
        text: any text; it is never read as a query language.
        limit: at most so many.
        allowed: a compiled filter that the items must match.

    Returns:
        (item rowid, item id, score), higher scores first, equal ones by id.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    table = text_index(collection_rowid(ws, collection))
    match = match_expression(text)
    if not match or limit < 1:
        return []
    condition, parameters = "", [match]
    if allowed is not None:
        condition = f" AND rowid IN (SELECT rowid FROM items WHERE collection = ? AND {allowed.sql})"
        parameters += [collection, *allowed.parameters]
    asked = limit + 1
    while True:
        rows = ws.fetch(
            f"SELECT found.rowid, items.id, -found.score FROM (SELECT rowid, rank AS score FROM {table}"
            f" WHERE {table} MATCH ?{condition} ORDER BY rank LIMIT ?) AS found"
            " CROSS JOIN items ON items.rowid = found.rowid",
            (*parameters, asked),
        )
        rows.sort(key=lambda row: (-row[2], row[1].encode()))
        # Ties are broken by id, so all that tie with the last hit must have been seen.
        if len(rows) < asked or rows[limit - 1][2] > rows[-1][2]:
            return [(rowid, id, score) for rowid, id, score in rows[:limit]]
        asked *= 4


def lexical_scores(ws: Workspace, collection: str, text: str, item_rowids: Sequence[int]) -> dict[int, float]:
    """Score given items by BM25; those with no term in common are left out.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    table = text_index(collection_rowid(ws, collection))
    match = match_expression(text)
    if not match:
        return {}
    rows = ws.fetch(
        # The plus keeps SQLite from running the whole match once per rowid.
        f"SELECT rowid, -bm25({table}) FROM {table} WHERE {table} MATCH ?"
        " AND +rowid IN (SELECT value FROM json_each(?))",
        (match, as_json(item_rowids)),
    )
    return dict(rows)


def match_expression(text: str) -> str:
    """Write a text as an FTS5 query: its distinct terms, quoted, any of which may match.

    >>> match_expression("Who wrote 'R.U.R.' AND why?")
    '"who" OR "wrote" OR "r" OR "u" OR "and" OR "why"'
    """
    terms = dict.fromkeys(match[0] for match in _TERM.finditer(text.lower()))
    return " OR ".join(f'"{term}"' for term in list(terms)[:MAX_TERMS])
