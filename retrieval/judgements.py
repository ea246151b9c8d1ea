"""Judged queries: questions with the items that answer them, for training and evaluation."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retrieval.collections import require_collection
from retrieval.errors import InvalidInput
from retrieval.item_checks import MAX_TEXT_BYTES, check_id, check_text, ids_json
from retrieval.workspace import Workspace

SPLITS = ("train", "validation", "test")
_ALIASES = {"dev": "validation", "val": "validation", "valid": "validation"}


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query and the items that were judged for it."""

    id: str
    text: str
    split: str = ""  # empty until assigned
    grades: Mapping[str, int] = field(default_factory=dict)  # by item id; 0 = shown, but not relevant


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """The number of queries in each split."""

    train: int
    validation: int
    test: int


def put_judged_queries(ws: Workspace, collection: str, queries: Sequence[JudgedQuery]) -> int:
    """Store judged queries, durably; a query that is there is brought up to date.

    A query without a split keeps the one it has. Of queries with the same id, the last one counts.

    Returns:
        The number of queries that are new or changed.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidInput: if a query is blank, or its split is not train, validation, dev or test.
    """
    require_collection(ws, collection)
    wanted = {query.id: _checked(query) for query in queries}
    with ws.atomic() as db:
        stored = {query.id: query for query in _read(ws, collection, list(wanted))}
        changed = [query for id, query in wanted.items() if _differs(query, stored.get(id))]
        db.conn.executemany(
            "INSERT INTO queries(collection, id, text, split) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (collection, id) DO UPDATE SET text = excluded.text,"
            " split = CASE excluded.split WHEN '' THEN split ELSE excluded.split END",
            [(collection, query.id, query.text, query.split) for query in changed],
        )
        of_query = "(SELECT rowid FROM queries WHERE collection = ? AND id = ?)"
        db.conn.executemany(
            f"DELETE FROM qrels WHERE query = {of_query}",
            [(collection, query.id) for query in changed if query.id in stored],
        )
        db.conn.executemany(
            f"INSERT INTO qrels(query, item_id, grade) VALUES ({of_query}, ?, ?)",
            [
                (collection, query.id, item_id, grade)
                for query in changed
                for item_id, grade in query.grades.items()
            ],
        )
    return len(changed)


def _checked(query: JudgedQuery) -> JudgedQuery:
    check_id(query.id, field="query.id")
    check_text(query.text, MAX_TEXT_BYTES, "query.text")
    if not query.text.strip():
        raise InvalidInput(f"query {query.id!r}: expected a text, got only blanks", field="query.text")
    split = _ALIASES.get(query.split, query.split)
    if split and split not in SPLITS:
        raise InvalidInput(
            f"query {query.id!r}: expected a split of {', '.join(SPLITS)}, got {split!r}", field="query.split"
        )
    for item_id in query.grades:
        check_id(item_id, field="query.grades")
    return JudgedQuery(query.id, query.text, split, query.grades)


def _differs(query: JudgedQuery, stored: JudgedQuery | None) -> bool:
    return (
        stored is None
        or query.text != stored.text
        or (query.split != "" and query.split != stored.split)
        or dict(query.grades) != stored.grades
    )


def judged_queries(ws: Workspace, collection: str, split: str | None = None) -> list[JudgedQuery]:
    """List a collection's judged queries, in the order they came; None means every split.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    require_collection(ws, collection)
    return _read(ws, collection, None, split)


def _read(
    ws: Workspace, collection: str, ids: Sequence[str] | None, split: str | None = None
) -> list[JudgedQuery]:
    which, parameters = "", [collection]
    if ids is not None:
        which += " AND queries.id IN (SELECT value FROM json_each(?))"
        parameters.append(ids_json(ids))
    if split is not None:
        which += " AND queries.split = ?"
        parameters.append(_ALIASES.get(split, split))
    rows = ws.fetch(
        "SELECT queries.id, queries.text, queries.split, qrels.item_id, qrels.grade FROM queries"
        " LEFT JOIN qrels ON qrels.query = queries.rowid"
        f" WHERE queries.collection = ?{which} ORDER BY queries.rowid",
        parameters,
    )
    found: dict[str, tuple[str, str, dict[str, int]]] = {}
    for id, text, own_split, item_id, grade in rows:
        grades = found.setdefault(id, (text, own_split, {}))[2]
        if item_id is not None:
            grades[item_id] = grade
    return [JudgedQuery(id, text, own_split, grades) for id, (text, own_split, grades) in found.items()]


def assign_splits(
    ws: Workspace, collection: str, *, test: int = 1000, validation: int = 500, seed: int = 0
) -> SplitCounts:
    """Put every query that has no split yet into one, and store it.

    Which split follows from the hash of seed and id alone, so the order in which queries came does not
    matter. A stored split never changes: queries that are added later fill what is missing of test and
    validation, and the rest go to train.

    Args:
        ws: the workspace.
        collection: whose queries.
        test: the size of the test split, but at most a fifth of all queries.
        validation: the size of the validation split, but at most a tenth of all queries.
        seed: another seed, another assignment.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    require_collection(ws, collection)
    with ws.atomic() as db:
        counts = dict(
            ws.fetch("SELECT split, count(*) FROM queries WHERE collection = ? GROUP BY split", (collection,))
        )
        total = sum(counts.values())
        open_rows = ws.fetch(
            "SELECT rowid, id FROM queries WHERE collection = ? AND split = ''", (collection,)
        )
        open_rows.sort(key=lambda row: hashlib.sha256(f"{seed}:{row[1]}".encode()).digest())
        missing_test = max(0, min(test, total // 5) - counts.get("test", 0))
        missing_validation = max(0, min(validation, total // 10) - counts.get("validation", 0))
        splits = ["test"] * missing_test + ["validation"] * missing_validation
        splits += ["train"] * max(0, len(open_rows) - len(splits))
        db.conn.executemany(
            "UPDATE queries SET split = ? WHERE rowid = ?",
            [(split, rowid) for split, (rowid, _) in zip(splits, open_rows, strict=False)],
        )
        counts = dict(
            ws.fetch("SELECT split, count(*) FROM queries WHERE collection = ? GROUP BY split", (collection,))
        )
    return SplitCounts(*(counts.get(split, 0) for split in SPLITS))
