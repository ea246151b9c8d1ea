"""BM25 over the texts of a collection, by SQLite's FTS5.

FTS5 scores every item that has any term of the query, which for a question in plain words is most of them.
So stop words are left out of queries (they also rank worse with them), and the rarer terms alone choose the
candidates, which are then scored by all terms.
"""

import json
import re
from collections.abc import Iterable, Sequence

from retrieval.collections import collection_rowid, text_index
from retrieval.filter_sql import SqlCondition
from retrieval.segments import as_json
from retrieval.workspace import Workspace

MAX_TERMS = 128
# Letters and digits, with the combining marks that belong to them.
_TERM = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+")
_STOP_WORDS = """
a also an and are as at be been but by did do does for from had has have he her him his how if in into is it
its no not of on or she such that the their then there these they this to was were what when where which who
whom whose will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_CANDIDATE_FRACTION = 0.08  # the rarer terms, which choose the candidates, are together in so many items
_MIN_CANDIDATES = 300


def lexical_search(
    ws: Workspace,
    collection: str,
    text: str,
    limit: int,
    *,
    allowed: SqlCondition | None = None,
    exact: bool = False,
) -> list[tuple[int, str, float]]:
    """Find the items whose text fits best by BM25; one term in common is enough.

    Args:
        ws: the workspace.
        collection: to search.
        text: any text; it is never read as a query language.
        limit: at most so many.
        allowed: a compiled filter that the items must match.
        exact: let every term choose candidates, so that no item is missed that has only common ones.

    Returns:
        (item rowid, item id, score), higher scores first, equal ones by id.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    owner = collection_rowid(ws, collection)
    terms = query_terms(text)
    if not terms or limit < 1:
        return []
    wanted = max(_MIN_CANDIDATES, 3 * limit)
    rarer = terms if exact else _rarer_terms(ws, owner, terms, wanted)
    scores = _best(ws, owner, rarer, wanted, allowed)
    if len(rarer) < len(terms):
        if len(scores) < wanted:
            scores = _best(ws, owner, terms, wanted, allowed)
        else:
            scores = _scores(ws, owner, terms, list(scores))
    rows = ws.fetch(
        "SELECT items.id, items.rowid FROM json_each(?) AS wanted CROSS JOIN items"
        " ON items.rowid = wanted.value",
        (as_json(list(scores)),),
    )
    rows.sort(key=lambda row: (-scores[row[1]], row[0]))
    return [(rowid, id, scores[rowid]) for id, rowid in rows[:limit]]


def lexical_scores(ws: Workspace, collection: str, text: str, item_rowids: Sequence[int]) -> dict[int, float]:
    """Score given items by BM25, as `lexical_search` does; those with no term in common are left out.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    owner = collection_rowid(ws, collection)
    terms = query_terms(text)
    return _scores(ws, owner, terms, item_rowids) if terms else {}


def query_terms(text: str) -> list[str]:
    """List the distinct terms of a query, without stop words unless it has nothing else.

    >>> query_terms("Who wrote 'R.U.R.' AND why?")
    ['wrote', 'r', 'u', 'why']
    >>> query_terms("The Who")
    ['the', 'who']
    """
    terms = dict.fromkeys(match[0] for match in _TERM.finditer(text.lower()))
    return ([term for term in terms if term not in STOP_WORDS] or list(terms))[:MAX_TERMS]


def _expression(terms: Iterable[str]) -> str:
    return " OR ".join(f'"{term}"' for term in terms)


def _rarer_terms(ws: Workspace, owner: int, terms: Sequence[str], wanted: int) -> Sequence[str]:
    """Take terms, the rarest first, as long as they are together in few items."""
    table = text_index(owner)
    (total,) = ws.fetch("SELECT items FROM collections WHERE rowid = ?", (owner,))[0]
    most = max(_CANDIDATE_FRACTION * total, 4 * wanted)
    if total <= most:
        return terms
    found = ws.fetch(
        f"SELECT value, (SELECT count(*) FROM {table} WHERE {table} MATCH '\"' || value || '\"')"
        " FROM json_each(?)",
        (json.dumps(terms, ensure_ascii=False),),
    )
    rarer: list[str] = []
    covered = 0
    for term, count in sorted(found, key=lambda row: row[1]):
        covered += count
        if covered > most:
            break
        rarer.append(term)
    return rarer or terms


def _best(
    ws: Workspace, owner: int, terms: Sequence[str], limit: int, allowed: SqlCondition | None
) -> dict[int, float]:
    """Score the items that rank first by these terms."""
    table = text_index(owner)
    if allowed is None:
        return dict(
            ws.fetch(
                f"SELECT rowid, -rank FROM {table} WHERE {table} MATCH ? ORDER BY rank LIMIT ?",
                (_expression(terms), limit),
            )
        )
    return dict(
        ws.fetch(
            # bm25() rather than rank: FTS5 would score all matches before the filter sees them.
            f"SELECT rowid, -bm25({table}) AS score FROM {table} WHERE {table} MATCH ?"
            f" AND EXISTS (SELECT 1 FROM items WHERE items.rowid = {table}.rowid AND {allowed.sql})"
            " ORDER BY score DESC LIMIT ?",
            (_expression(terms), *allowed.parameters, limit),
        )
    )


def _scores(ws: Workspace, owner: int, terms: Sequence[str], rowids: Sequence[int]) -> dict[int, float]:
    table = text_index(owner)
    return dict(
        ws.fetch(
            # The plus keeps SQLite from running the whole match once per rowid.
            f"SELECT rowid, -bm25({table}) FROM {table} WHERE {table} MATCH ?"
            " AND +rowid IN (SELECT value FROM json_each(?))",
            (_expression(terms), as_json(rowids)),
        )
    )
