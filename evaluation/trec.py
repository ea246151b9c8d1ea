"""TREC run and judgement files, in and out: what other evaluation tools read and write."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evaluation.runs import Qrels, RetrievalRun, ScoredItem
from retrieval.errors import InvalidInput, UnreadableSource

# Columns are parted by ASCII blanks only: other Unicode spaces may stand inside an id.
_BLANK = re.compile(r"[ \t\r\n\v\f]")
_COLUMN = re.compile(r"[^ \t\r\n\v\f]+")
_DEFAULT_TAG = "twinspire"


def write_run(run: RetrievalRun, file: Path) -> None:
    """Write `query Q0 item rank score tag`, one line per item.

    trec_eval ignores the rank, sorts by score read as a 32-bit float, and breaks ties its own way. So
    equal scores are lowered, each by the smallest step, until they fall strictly: every tool then sees
    the order that we saw.

    Raises:
        InvalidInput: if an id holds a blank, which the format cannot express.
    """
    tag = _BLANK.sub("_", run.name) or _DEFAULT_TAG
    with file.open("w", encoding="utf-8", newline="\n") as out:
        for query, ranking in run.rankings.items():
            _check_id(query)
            scores = _strictly_falling([item.score for item in ranking])
            for rank, (item, score) in enumerate(zip(ranking, scores, strict=True), start=1):
                _check_id(item.id)
                out.write(f"{query} Q0 {item.id} {rank} {score} {tag}\n")


def _strictly_falling(scores: Sequence[float]) -> list[np.float32]:
    falling: list[np.float32] = []
    for score in np.asarray(scores, dtype=np.float32):
        if falling and score >= falling[-1]:
            score = np.nextafter(falling[-1], np.float32(-np.inf))
        falling.append(score)
    return falling


def _check_id(id: str) -> None:
    if not id or _BLANK.search(id):
        raise InvalidInput(f"a TREC file cannot hold the id {id!r}: it is empty or has a blank in it")


def read_run(file: Path, name: str = "") -> RetrievalRun:
    """Read a run: items are ordered by score, equal scores by the rank column.

    Args:
        file: lines of `query Q0 item rank score tag`.
        name: what to call the run; empty takes the tag.

    Raises:
        UnreadableSource: if a line is not of six columns, a number is none, or an item comes twice.
    """
    found: dict[str, dict[str, tuple[float, int]]] = {}
    tag = ""
    for number, columns in _lines(file, 6):
        query, _, item, rank, score, tag = columns
        items = found.setdefault(query, {})
        if item in items:
            raise UnreadableSource(f"line {number}: item {item!r} comes twice for query {query!r}")
        items[item] = (-_number(score, number), int(_number(rank, number)))
    rankings = {
        query: [ScoredItem(id, -key[0]) for id, key in sorted(items.items(), key=lambda pair: pair[1])]
        for query, items in found.items()
    }
    return RetrievalRun(name or tag or _DEFAULT_TAG, rankings)


def write_qrels(qrels: Qrels, file: Path) -> None:
    """Write judgements as `query 0 item grade`.

    Raises:
        InvalidInput: if an id holds a blank, which the format cannot express.
    """
    with file.open("w", encoding="utf-8", newline="\n") as out:
        for query, grades in qrels.items():
            _check_id(query)
            for item, grade in grades.items():
                _check_id(item)
                out.write(f"{query} 0 {item} {grade}\n")


def read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """Read judgements written as `query 0 item grade`.

    Raises:
        UnreadableSource: if a line is not of four columns, or the grade is no number.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, (query, _, item, grade) in _lines(file, 4):
        qrels.setdefault(query, {})[item] = int(_number(grade, number))
    return qrels


def _lines(file: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableSource(f"{file.name} is not a readable text file") from error
    for number, line in enumerate(lines, start=1):
        values = _COLUMN.findall(line)
        if values and len(values) != columns:
            raise UnreadableSource(f"line {number}: expected {columns} columns, got {len(values)}")
        if values:
            yield number, values


def _number(text: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UnreadableSource(f"line {line}: expected a number, got {text!r}")
    return value
