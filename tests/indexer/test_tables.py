import gzip
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.errors import InvalidInput, UnreadableSource
from retrieval.items import StoredItem
from tests.indexer.conftest import ImportInto
from tests.indexer.files import read_lines

GetItem = Callable[[str], StoredItem]
Ids = Callable[[], list[str]]


def csv_file(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def database(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def test_csv_columns_of_numbers_become_numbers(
    import_into: ImportInto, item: GetItem, tmp_path: Path
) -> None:
    text = "id,text,year,price,code,mixed,gap\n1,a,1999,1.5,007,1,\n2,b,2001,2,012,x,4\n"

    import_into("csv", csv_file(tmp_path / "a.csv", text))

    assert item("1").attributes == {"year": 1999, "price": 1.5, "code": "007", "mixed": "1"}
    assert item("2").attributes == {"year": 2001, "price": 2.0, "code": "012", "mixed": "x", "gap": 4}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_from_the_header(
    import_into: ImportInto, item: GetItem, tmp_path: Path, delimiter: str
) -> None:
    rows = [["id", "text", "note"], ["x", "hello", "there"]]

    import_into("csv", csv_file(tmp_path / "a.csv", "\n".join(delimiter.join(row) for row in rows)))

    assert item("x").attributes == {"note": "there"}


def test_a_quoted_cell_keeps_its_blank_lines(import_into: ImportInto, item: GetItem, tmp_path: Path) -> None:
    import_into("csv", csv_file(tmp_path / "a.csv", 'id,text\n\nx,"one\n\ntwo, ""three"""\n\n'))

    assert item("x").text == 'one\n\ntwo, "three"'


def test_a_byte_order_mark_is_no_part_of_the_first_column(
    import_into: ImportInto, ids: Ids, tmp_path: Path
) -> None:
    import_into("csv", csv_file(tmp_path / "a.csv", b"\xef\xbb\xbfid,text\nx,hello\n"))

    assert ids() == ["x"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"x,a,b,c", "expected 2 cells, got 4"),
        (b"x", "expected 2 cells, got 1"),
        (b"x,\xff", "invalid UTF-8"),
        (b",no id", "no 'id'"),
        (b"x,", "only blanks"),
    ],
)
def test_a_bad_csv_row_is_set_aside(
    import_into: ImportInto, ids: Ids, tmp_path: Path, row: bytes, reason: str
) -> None:
    report = import_into("csv", csv_file(tmp_path / "a.csv", b"id,text\ngood,t\n" + row + b"\nbetter,t\n"))

    assert ids() == ["better", "good"]
    assert report.examples[0].number == 2
    assert reason in report.examples[0].reason


def test_a_cell_above_the_limit_costs_its_row_only(import_into: ImportInto, ids: Ids, tmp_path: Path) -> None:
    huge = b"x," + b"a" * (3 << 20)

    import_into("csv", csv_file(tmp_path / "a.csv", b"id,text\n" + huge + b"\ngood,t\n"))

    assert ids() == ["good"]


@pytest.mark.parametrize("options", [{"id": "no"}, {"text": ("no",)}, {"attributes": ("no",)}])
def test_a_column_that_is_not_there_is_told_with_those_that_are(
    import_into: ImportInto, tmp_path: Path, options: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput, match="no column 'no'; there are: id, text"):
        import_into("csv", csv_file(tmp_path / "a.csv", "id,text\n1,a\n"), **options)


def test_two_columns_of_one_name_are_refused(import_into: ImportInto, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="several columns are named 'text'"):
        import_into("csv", csv_file(tmp_path / "a.csv", "id,text,text\n1,a,b\n"))


def test_gzip_is_told_by_its_bytes(import_into: ImportInto, ids: Ids, tmp_path: Path) -> None:
    import_into("csv", csv_file(tmp_path / "a.csv", gzip.compress(b"id,text\nx,hello\n")))

    assert ids() == ["x"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(b'{"id": "x", "text": "hello"}\n' * 1000)[:-20], "cut off"),
        (gzip.compress(b'{"id": "x", "text": "hello"}\n')[:-8] + b"\0" * 8, "damaged"),
        (b"PK\x03\x04 and more", "zip archive"),
        (b"SQLite format 3\x00 and more", "SQLite database"),
        ("id".encode("utf-16"), "UTF-16"),
        (gzip.compress(b""), "no rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_another_format_is_refused_by_its_name(
    import_into: ImportInto, tmp_path: Path, content: bytes, what: str
) -> None:
    with pytest.raises(UnreadableSource, match=what):
        import_into("jsonl", csv_file(tmp_path / "a.jsonl", content))


@pytest.mark.slow
def test_a_gzip_bomb_is_refused(import_into: ImportInto, tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(b" " * (1 << 20))

    with pytest.raises(UnreadableSource, match="unpacks to more than"):
        import_into("jsonl", path)


def test_any_sqlite_table_is_imported_with_its_columns_as_attributes(
    import_into: ImportInto, item: GetItem, tmp_path: Path
) -> None:
    path = database(
        tmp_path / "a.db",
        "CREATE TABLE other(x)",
        'CREATE TABLE "my films"(key TEXT PRIMARY KEY, plot TEXT, year INT, "a ""b""" REAL, cover BLOB)',
        "INSERT INTO \"my films\" VALUES ('f1', 'A film', 1999, 1.5, x'ff')",
        "INSERT INTO \"my films\" VALUES ('f2', 'Another', NULL, NULL, NULL)",
    )

    import_into("sqlite", path, table="my films", text=("plot",))

    assert item("f1").attributes == {"year": 1999, 'a "b"': 1.5}
    assert item("f2").attributes == {}


def test_without_a_primary_key_the_rowid_is_the_id(import_into: ImportInto, ids: Ids, tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.db", "CREATE TABLE t(text)", "INSERT INTO t(rowid, text) VALUES (7, 'a'), (9, 'b')"
    )

    import_into("sqlite", path)

    assert ids() == ["7", "9"]


@pytest.mark.parametrize(
    "kind", ["VIEW v AS SELECT id, text FROM t", "TABLE v(id PRIMARY KEY, text) WITHOUT ROWID"]
)
def test_a_table_without_rowids_is_imported(
    import_into: ImportInto, ids: Ids, tmp_path: Path, kind: str
) -> None:
    path = database(
        tmp_path / "a.db",
        "CREATE TABLE t(id, text)",
        "INSERT INTO t VALUES ('x', 'a'), ('y', 'b')",
        f"CREATE {kind}",
    )
    if "WITHOUT" in kind:
        database(path, "INSERT INTO v SELECT id, text FROM t")

    import_into("sqlite", path, table="v", id="id")

    assert ids() == ["x", "y"]


def test_invalid_text_in_sqlite_costs_its_row_only(import_into: ImportInto, ids: Ids, tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.db",
        "CREATE TABLE t(id, text)",
        "INSERT INTO t VALUES ('x', 'a'), ('y', CAST(x'ff' AS TEXT)), ('z', 9e999), ('w', x'00')",
    )

    report = import_into("sqlite", path, attributes=())

    assert "y" not in ids()
    assert report.rejected >= 2


def test_sqlite_is_opened_without_writing_beside_it(import_into: ImportInto, tmp_path: Path) -> None:
    folder = tmp_path / "readonly"
    folder.mkdir()
    path = database(folder / "a.db", "CREATE TABLE t(id, text)", "INSERT INTO t VALUES ('x', 'a')")
    before = path.read_bytes()

    import_into("sqlite", path)

    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path]


def test_rows_that_are_still_in_the_log_are_seen(import_into: ImportInto, ids: Ids, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t(id, text)")
    writer.execute("INSERT INTO t VALUES ('x', 'a')")

    import_into("sqlite", path)
    writer.close()

    assert ids() == ["x"]


def test_the_table_must_be_named_if_there_are_several(import_into: ImportInto, tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", "CREATE TABLE a(text)", "CREATE TABLE b(text)")

    with pytest.raises(InvalidInput, match="name one of a, b"):
        import_into("sqlite", path)
    with pytest.raises(InvalidInput, match="no table 'c'; there are: a, b"):
        import_into("sqlite", path, table="c")


@pytest.mark.parametrize("damage", ["junk", "empty", "cut off", "no tables", "a folder"])
def test_what_is_no_database_is_refused(import_into: ImportInto, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.db"
    if damage == "a folder":
        path.mkdir()
    else:
        database(path, "CREATE TABLE t(id, text)", "INSERT INTO t VALUES ('x', hex(randomblob(50000)))")
        raw = path.read_bytes()
        path.write_bytes({"junk": b"junk" * 1000, "empty": b"", "cut off": raw[:6000]}.get(damage, raw))
    if damage == "no tables":
        path.unlink()
        database(path, "CREATE TABLE t(id)", "DROP TABLE t")

    with pytest.raises(UnreadableSource):
        import_into("sqlite", path)


def parquet(path: Path, columns: dict[str, list[object]]) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_parquet_rows_become_items(import_into: ImportInto, item: GetItem, tmp_path: Path) -> None:
    columns = {
        "id": [1, 2, 3],
        "text": ["a", "b", "c"],
        "year": [1999, None, 2001],
        "tags": [["x"], [], None],
    }

    report = import_into("parquet", parquet(tmp_path / "a.parquet", columns))  # type: ignore[arg-type]

    assert report.inserted == 3
    assert item("1").attributes == {"year": 1999, "tags": ["x"]}
    assert item("3").attributes == {"year": 2001}


def test_bad_parquet_rows_are_set_aside(import_into: ImportInto, ids: Ids, tmp_path: Path) -> None:
    columns = {
        "id": ["a", "b", None, "d"],
        "text": ["a", None, "c", "d"],
        "score": [1.0, 1.0, 1.0, float("nan")],
    }

    import_into("parquet", parquet(tmp_path / "a.parquet", columns))  # type: ignore[arg-type]

    assert ids() == ["a"]
    assert [line["row"] for line in read_lines(tmp_path / "rejects.jsonl")] == [2, 3, 4]


@pytest.mark.parametrize("content", [b"", b"junk", b"PAR1junkPAR1"])
def test_what_is_no_parquet_file_is_refused(import_into: ImportInto, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableSource):
        import_into("parquet", csv_file(tmp_path / "a.parquet", content))
