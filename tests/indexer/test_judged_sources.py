import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.importers.msmarco import passage_id
from retrieval.errors import InvalidInput, UnreadableSource
from retrieval.items import StoredItem
from retrieval.judgements import judged_queries
from retrieval.workspace import Workspace
from tests.indexer.conftest import ImportInto
from tests.indexer.files import read_lines, write_lines

GetItem = Callable[[str], StoredItem]
Ids = Callable[[], list[str]]


def beir_folder(folder: Path, **qrels: str) -> Path:
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": "d1", "title": "Title", "text": "text one", "metadata": {"year": 1999}},
        {"_id": "d2", "title": "", "text": "text two"},
    ]
    write_lines(folder / "corpus.jsonl", *corpus)
    queries = [{"_id": f"q{n}", "text": f"question {n}"} for n in range(1, 4)]
    write_lines(folder / "queries.jsonl", *queries)
    for split, rows in qrels.items():
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return folder


def test_beir_fills_items_and_judged_queries(
    ws: Workspace, import_into: ImportInto, item: GetItem, tmp_path: Path
) -> None:
    folder = beir_folder(tmp_path / "b", test="q1\td1\t2\nq1\td2\t0\n", dev="q2\td2\t1\n")

    report = import_into("beir", folder)

    assert (report.inserted, report.queries) == (2, 2)
    assert item("d1").text == "Title text one"
    assert item("d1").attributes == {"year": 1999, "title": "Title"}
    assert {(q.id, q.split, tuple(q.grades.items())) for q in judged_queries(ws, "c")} == {
        ("q1", "test", (("d1", 2), ("d2", 0))),
        ("q2", "validation", (("d2", 1),)),
    }


def test_queries_without_a_split_are_assigned_one(
    ws: Workspace, import_into: ImportInto, tmp_path: Path
) -> None:
    import_into("beir", beir_folder(tmp_path / "b", all="q1\td1\t1\nq2\td2\t1\n"))

    assert {query.split for query in judged_queries(ws, "c")} <= {"train", "validation", "test"}


def test_a_second_import_of_judged_queries_changes_nothing(import_into: ImportInto, tmp_path: Path) -> None:
    folder = beir_folder(tmp_path / "b", all="q1\td1\t1\nq2\td2\t1\n")
    import_into("beir", folder)

    assert not import_into("beir", folder).changed


def test_bad_lines_of_a_beir_folder_are_told_with_their_file(import_into: ImportInto, tmp_path: Path) -> None:
    folder = beir_folder(tmp_path / "b", test="q1\td1\t1\nq9\td1\t1\nq1\td2\n")
    with (folder / "queries.jsonl").open("a") as file:
        file.write('{"_id": "q4", "text": " "}\n')

    report = import_into("beir", folder)

    reasons = [line["reason"] for line in read_lines(tmp_path / "rejects.jsonl")]
    assert report.rejected == 3
    assert reasons[0].startswith("queries.jsonl, line 4")
    assert reasons[1].startswith("test.tsv, line 4")
    assert reasons[2] == "judged, but not in the queries"


def test_a_folder_without_a_corpus_is_refused(import_into: ImportInto, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="no corpus"):
        import_into("beir", tmp_path)


ROW: dict[str, Any] = {
    "query_id": 7,
    "query": "what is it?",
    "passages": {"passage_text": ["a thing", "another"], "is_selected": [1, 0], "url": ["u1", "u2"]},
}
OTHER: dict[str, Any] = {
    "query_id": 8,
    "query": "and that?",
    "passages": {"passage_text": ["another", "a third"], "is_selected": [1, 0], "url": ["u2", "u3"]},
}


def objects(row: dict[str, Any]) -> dict[str, Any]:
    """The layout of the original files: a list of objects."""
    columns = row["passages"]
    names = list(columns)
    passages = [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return row | {"passages": passages}


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The layout of the original v2.1 files: one object of columns."""
    return {
        name: {str(n): row[name] for n, row in enumerate(rows)} for name in ("passages", "query", "query_id")
    }


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "lines.jsonl": lambda path: write_lines(path, ROW, OTHER),
    "objects.json": lambda path: write_lines(path, objects(ROW), objects(OTHER)),
    "lines.json.gz": lambda path: path.write_bytes(
        gzip.compress(f"{json.dumps(ROW)}\n{json.dumps(OTHER)}".encode())
    ),
    "array.json": lambda path: path.write_text(json.dumps([ROW, OTHER], indent=1)),
    "columns.json": lambda path: path.write_text(json.dumps(columns([objects(ROW), objects(OTHER)]))),
    "rows.parquet": lambda path: pq.write_table(pa.Table.from_pylist([ROW, OTHER]), path),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_msmarco_gives_the_same(
    ws: Workspace, import_into: ImportInto, ids: Ids, tmp_path: Path, layout: str
) -> None:
    LAYOUTS[layout](tmp_path / layout)

    report = import_into("msmarco", tmp_path / layout, split="train")

    a, b, c = (passage_id(text) for text in ("a thing", "another", "a third"))
    assert ids() == sorted([a, b, c])
    assert (report.inserted, report.duplicates, report.queries) == (3, 0, 2)
    assert [(q.id, q.text, q.split, dict(q.grades)) for q in judged_queries(ws, "c")] == [
        ("7", "what is it?", "train", {a: 1, b: 0}),
        ("8", "and that?", "train", {b: 1, c: 0}),
    ]


def test_the_split_of_msmarco_is_told_by_the_name_of_the_file(
    ws: Workspace, import_into: ImportInto, tmp_path: Path
) -> None:
    import_into("msmarco", write_lines(tmp_path / "dev_v1.1.json", ROW))

    assert [query.split for query in judged_queries(ws, "c")] == ["validation"]


def test_a_query_without_a_selected_passage_judges_nothing(
    ws: Workspace, import_into: ImportInto, tmp_path: Path
) -> None:
    row = ROW | {"passages": ROW["passages"] | {"is_selected": [0, 0]}}

    report = import_into("msmarco", write_lines(tmp_path / "a.jsonl", row))

    assert (report.inserted, report.queries) == (2, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"query": " "},
        {"query_id": None},
        {"query_id": 1.5},
        {"passages": {"passage_text": ["a"], "is_selected": []}},
        {"passages": ["a"]},
        {"passages": {"passage_text": [" "], "is_selected": [1]}},
    ],
)
def test_a_bad_msmarco_row_is_set_aside_whole(
    import_into: ImportInto, tmp_path: Path, change: dict[str, Any]
) -> None:
    report = import_into("msmarco", write_lines(tmp_path / "a.jsonl", ROW | change, OTHER))

    assert (report.rejected, report.inserted, report.queries) == (1, 2, 1)


def test_a_broken_array_is_refused_before_any_work(import_into: ImportInto, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([ROW, OTHER])[:-10])

    with pytest.raises(UnreadableSource, match="bad JSON"):
        import_into("msmarco", path)


def test_triplets_become_items_and_judged_queries(
    ws: Workspace, import_into: ImportInto, ids: Ids, tmp_path: Path
) -> None:
    def triplet(query: str, positive: str, negative: str) -> dict[str, str]:
        return {
            "query_id": query,
            "query_text": f"question {query}",
            "pos_passage_id": positive,
            "pos_passage_text": f"text {positive}",
            "neg_passage_id": negative,
            "neg_passage_text": f"text {negative}",
        }

    rows = [triplet("q1", "a", "b"), triplet("q2", "b", "a"), triplet("q1", "a", "c")]

    report = import_into("triplets", write_lines(tmp_path / "a.jsonl", *rows, {"query_id": "q3"}))

    assert ids() == ["a", "b", "c"]
    assert (report.rejected, report.duplicates) == (1, 0)
    assert {query.id: dict(query.grades) for query in judged_queries(ws, "c")} == {
        "q1": {"a": 1, "b": 0, "c": 0},
        "q2": {"a": 0, "b": 1},
    }


def test_documents_db_is_imported_with_its_metadata(
    import_into: ImportInto, item: GetItem, tmp_path: Path
) -> None:
    path = tmp_path / "documents.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE documents(doc_id TEXT PRIMARY KEY, doc_text TEXT NOT NULL, source TEXT,"
            " doc_length INTEGER, created_at TIMESTAMP, metadata TEXT)"
        )
        connection.execute(
            """INSERT INTO documents VALUES ('7_0', 'a text', 's', 6, '2025-01-02', '{"lang": "en"}')"""
        )
        connection.execute("INSERT INTO documents VALUES ('7_1', 'a text', NULL, NULL, NULL, 'not json')")
    connection.close()

    import_into("documents_db", path)

    assert item("7_0").attributes == {
        "source": "s",
        "doc_length": 6,
        "created_at": "2025-01-02",
        "lang": "en",
    }
    assert item("7_1").attributes == {"metadata": "not json"}


@pytest.mark.parametrize(
    "queries", ["1\tfirst question\n2\tsecond question\n", '{"_id": "1", "text": "first question"}']
)
def test_trec_qrels_judge_items_that_are_there(
    ws: Workspace, import_into: ImportInto, tmp_path: Path, queries: str
) -> None:
    (tmp_path / "topics").write_text(queries)
    (tmp_path / "qrels.test.txt").write_text("1 0 d1 2\n1 0 d2 -1\n9 0 d1 1\n")

    report = import_into("trec", tmp_path / "qrels.test.txt", queries=tmp_path / "topics")

    (query,) = judged_queries(ws, "c")
    assert (query.id, query.text, query.split) == ("1", "first question", "test")
    assert dict(query.grades) == {"d1": 2, "d2": 0}
    assert report.rejected == 1


def test_trec_qrels_need_the_texts_of_their_queries(import_into: ImportInto, tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("1 0 d1 2\n")

    with pytest.raises(InvalidInput, match="name the file of queries"):
        import_into("trec", tmp_path / "qrels")
