"""Files of graded judgements, as TREC and BEIR write them, and of query texts."""

import re
from pathlib import Path

from indexer.importers.json_stream import first_character, json_rows
from indexer.importers.lines import lines
from indexer.importers.scratch import Judgements
from indexer.importers.source import Reject, raw_start
from retrieval.errors import InvalidInput
from retrieval.item_checks import MAX_TEXT_BYTES, check_id, check_text

SPLITS = {
    "train": "train",
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "eval": "test",
}


def split_of(path: Path, default: str) -> str:
    """Tell a split by the file's name.

    >>> split_of(Path("dev_v2.1.json.gz"), "")
    'validation'
    """
    for word in re.split(r"[^a-z]+", path.name.lower()):
        if word in SPLITS:
            return SPLITS[word]
    return default


def read_grades(path: Path, split: str, judgements: Judgements) -> None:
    """Note every grade of a file, and the lines that are none.

    A line holds `query item grade` (BEIR, with or without a header) or `query iteration item grade`
    (TREC), parted by tabs or spaces. TREC's negative grades mean junk: they count as 0.
    """
    last = ""
    for number, line in lines(path):
        text = line.decode("utf-8", "surrogateescape").strip()
        cells = text.split("\t") if "\t" in text else text.split()
        try:
            if len(cells) not in (3, 4):
                raise ValueError
            query, item, grade = cells[0], cells[-2], int(float(cells[-1]))
            if query != last:
                check_id(query, field="query")
                last = query
            check_id(item)
        except InvalidInput as error:
            judgements.add_reject(f"{path.name}, line {number}: {error}", raw_start(line))
        except (ValueError, OverflowError):
            if number > 1 or len(cells) not in (3, 4):  # else it is a header
                reason = f"{path.name}, line {number}: expected `query item grade`"
                judgements.add_reject(reason, raw_start(line))
        else:
            judgements.add_grade(query, item, max(0, grade), split)


def read_queries(path: Path, judgements: Judgements) -> None:
    """Note every query of a file of `id<TAB>text` lines or JSON objects with `_id` (or `id`) and `text`."""
    if first_character(path) in ("{", "["):
        for number, row in json_rows(path):
            if isinstance(row, dict):
                id = row.get("_id", row.get("id", ""))
                text = row.get("text", row.get("query"))
                _note(judgements, path, number, str(id), text, row)
            else:
                reject = row if isinstance(row, Reject) else Reject("expected an object", raw_start(row))
                judgements.add_reject(f"{path.name}, line {number}: {reject.reason}", reject.raw)
        return
    for number, line in lines(path):
        id, _, text = line.decode("utf-8", "surrogateescape").strip().partition("\t")
        _note(judgements, path, number, id, text, line)


def _note(judgements: Judgements, path: Path, number: int, id: str, text: object, row: object) -> None:
    try:
        judgements.add_query(id, checked_query_text(id, text))
    except InvalidInput as error:
        judgements.add_reject(f"{path.name}, line {number}: {error}", raw_start(row))


def checked_query_text(id: str, text: object) -> str:
    """Return a query's text if it and the id can be stored.

    Raises:
        InvalidInput: if they cannot.
    """
    check_id(id, field="query id")
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput("query: expected a text that is not blank", field="query")
    check_text(text, MAX_TEXT_BYTES, "query")
    return text
