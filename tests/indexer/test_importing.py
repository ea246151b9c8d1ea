import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.importers.source import Source
from indexer.importing import import_source
from indexer.progress import Progress
from retrieval.chunking import Chunking
from retrieval.collections import collection_names, count
from retrieval.errors import InvalidInput, UnreadableSource
from retrieval.items import StoredItem, delete_items, list_items
from retrieval.workspace import Workspace
from tests.indexer.conftest import ImportInto
from tests.indexer.files import read_lines, write_lines


def digest(ws: Workspace) -> str:
    """Digest what was imported, but not the rowids and times."""
    rows = [(item.id, item.text, dict(item.attributes)) for item in list_items(ws, "c", limit=10**6)]
    return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()


def many_rows(path: Path, n: int) -> Path:
    return write_lines(path, *({"id": f"i{i}", "text": f"text number {i} " * 20, "n": i} for i in range(n)))


def test_every_column_but_id_and_text_becomes_an_attribute(
    import_into: ImportInto, item: Callable[[str], StoredItem], tmp_path: Path
) -> None:
    import_into(
        "jsonl", write_lines(tmp_path / "a.jsonl", {"id": "x", "text": "t", "year": 1999, "tags": ["a"]})
    )

    assert item("x").attributes == {"year": 1999, "tags": ["a"]}


def test_columns_are_chosen_by_name(
    import_into: ImportInto, item: Callable[[str], StoredItem], tmp_path: Path
) -> None:
    rows = write_lines(
        tmp_path / "a.jsonl", {"key": 7, "title": "A", "plot": "b", "year": 1, "junk": {"a": {}}}
    )

    import_into("jsonl", rows, id="key", text=("title", "plot"), attributes=("year", "title"))

    assert (item("7").text, item("7").attributes) == ("A b", {"year": 1, "title": "A"})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{", "bad JSON"),
        (b"[1]", "expected an object"),
        (b'{"id": "x", "text": NaN}', "NaN is not a number"),
        (b'{"id": "x", "text": "\xff"}', "invalid UTF-8"),
        (b'{"text": "no id"}', "no 'id'"),
        (b'{"id": "", "text": "empty id"}', "no 'id'"),
        (b'{"id": true, "text": "a"}', "id: expected text or a whole number"),
        (b'{"id": "x"}', "no 'text'"),
        (b'{"id": "x", "text": " "}', "only blanks"),
        (b'{"id": "x", "text": ["a"]}', "text: expected text"),
        (b'{"id": "x", "text": "\\ud800"}', "surrogate"),
        (b'{"id": "x", "text": "a", "nested": {"b": 1}}', "'nested'"),
        (b'{"id": "x", "text": "a", "huge": 1e999}', "finite"),
        (b'{"id": "' + b"x" * 513 + b'", "text": "a"}', "1 to 512 bytes"),
        (b'{"id": "x", "text": "' + b"a" * ((1 << 20) + 1) + b'"}', "at most"),
        (b"[" * 100_000, "bad JSON"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason(
    import_into: ImportInto, ids: Callable[[], list[str]], tmp_path: Path, row: bytes, reason: str
) -> None:
    source = write_lines(
        tmp_path / "a.jsonl", {"id": "good", "text": "t"}, row, {"id": "better", "text": "t"}
    )

    report = import_into("jsonl", source)

    assert ids() == ["better", "good"]
    assert report.rejected == 1
    (reject,) = read_lines(tmp_path / "rejects.jsonl")
    assert reject["row"] == 2
    assert reason in reject["reason"]
    assert report.examples[0].reason == reject["reason"]


def test_a_giant_line_costs_its_row_only(
    import_into: ImportInto, ids: Callable[[], list[str]], tmp_path: Path
) -> None:
    giant = b'{"id": "x", "text": "' + b"a" * (40 << 20) + b'"}'

    report = import_into("jsonl", write_lines(tmp_path / "a.jsonl", giant, {"id": "good", "text": "t"}))

    assert ids() == ["good"]
    assert "longer than" in report.examples[0].reason


def test_a_rejects_file_exists_only_if_there_are_rejects(import_into: ImportInto, tmp_path: Path) -> None:
    report = import_into("jsonl", many_rows(tmp_path / "a.jsonl", 3))

    assert report.rejects_file is None
    assert not (tmp_path / "rejects.jsonl").exists()


def test_of_duplicate_ids_the_last_wins_and_they_are_counted(
    import_into: ImportInto, item: Callable[[str], StoredItem], tmp_path: Path
) -> None:
    rows = [{"id": "x", "text": "first"}, {"id": "y", "text": "y"}, {"id": "x", "text": "second"}]

    report = import_into("jsonl", write_lines(tmp_path / "a.jsonl", *rows))

    assert item("x").text == "second"
    assert (report.inserted, report.duplicates) == (2, 1)


def test_a_second_import_changes_nothing_and_says_so(
    ws: Workspace, import_into: ImportInto, tmp_path: Path
) -> None:
    source = write_lines(
        tmp_path / "a.jsonl",
        *({"id": f"i{i % 15_000}", "text": f"text {i}", "n": i} for i in range(20_000)),
    )
    first = import_into("jsonl", source)
    rowids = [item.rowid for item in list_items(ws, "c", limit=100_000)]

    second = import_into("jsonl", source)

    assert first.changed
    assert (second.inserted, second.replaced, second.unchanged) == (0, 0, 15_000)
    assert not second.changed
    assert [item.rowid for item in list_items(ws, "c", limit=100_000)] == rowids


def test_a_change_of_attributes_alone_is_a_change(import_into: ImportInto, tmp_path: Path) -> None:
    import_into("jsonl", write_lines(tmp_path / "a.jsonl", {"id": "x", "text": "t", "n": 1}))

    report = import_into("jsonl", write_lines(tmp_path / "a.jsonl", {"id": "x", "text": "t", "n": 2}))

    assert report.changed
    assert report.unchanged == 1


def test_a_deleted_item_comes_back_with_the_next_import(
    ws: Workspace, import_into: ImportInto, ids: Callable[[], list[str]], tmp_path: Path
) -> None:
    source = many_rows(tmp_path / "a.jsonl", 3)
    import_into("jsonl", source)
    delete_items(ws, "c", ["i1"])

    assert import_into("jsonl", source).inserted == 1
    assert ids() == ["i0", "i1", "i2"]


@pytest.mark.parametrize("content", [None, b"", b"{\n[\n", b"\n\n", b'{"id": "x"}\n'])
def test_a_source_without_a_good_row_is_refused_before_any_work(
    ws: Workspace, import_into: ImportInto, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UnreadableSource):
        import_into("jsonl", path)

    assert collection_names(ws) == []


def test_an_unknown_kind_is_refused(import_into: ImportInto, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected one of jsonl, csv"):
        import_into("docx", many_rows(tmp_path / "a.jsonl", 1))


def test_no_message_shows_where_the_source_is(import_into: ImportInto, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource) as caught:
        import_into("jsonl", tmp_path / "missing.jsonl")

    assert str(tmp_path) not in str(caught.value)


def test_long_texts_become_segments_on_request(ws: Workspace, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"id": "x", "text": "Some words stand here. " * 50})

    import_source(ws, "c", Source(kind="jsonl", path=path), chunking=Chunking(40, 10))

    assert count(ws, "c").segments > 4


def test_progress_tells_both_stages_up_to_their_ends(ws: Workspace, tmp_path: Path) -> None:
    told: list[Progress] = []
    path = many_rows(tmp_path / "a.jsonl", 10)

    import_source(ws, "c", Source(kind="jsonl", path=path), on_progress=told.append)

    assert told == [Progress("check", 10, 10), Progress("import", 10, 10)]


IMPORT_SLOWLY = """
import sys, time
from pathlib import Path
import indexer.importing
from indexer.importers.source import Source
from retrieval.workspace import Workspace
indexer.importing.BATCH_RECORDS = 100
def slow(progress):
    if progress.stage == "import":
        print(progress.done, flush=True)
        time.sleep(0.05)
ws = Workspace(Path(sys.argv[1]), create=True)
source = Source(kind="jsonl", path=Path(sys.argv[2]))
report = indexer.importing.import_source(ws, "c", source, on_progress=slow)
"""


def test_an_import_that_was_killed_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    source = many_rows(tmp_path / "a.jsonl", 2000)
    with Workspace(tmp_path / "whole", create=True) as whole:
        import_source(whole, "c", Source(kind="jsonl", path=source))
        expected = digest(whole)
    command = [sys.executable, "-c", IMPORT_SLOWLY, str(tmp_path / "killed"), str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path.cwd(), text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 500:
                os.kill(process.pid, signal.SIGKILL)

    with Workspace(tmp_path / "killed") as killed:
        before = count(killed, "c").items
        report = import_source(killed, "c", Source(kind="jsonl", path=source))

        assert 500 <= before < 2000
        assert (report.resumed, report.inserted, report.unchanged) == (True, 2000, 0)
        assert digest(killed) == expected
        assert count(killed, "c").items == 2000


def test_an_interrupted_import_is_not_resumed_into_another_collection_of_the_name(
    ws: Workspace, tmp_path: Path
) -> None:
    source = Source(kind="jsonl", path=many_rows(tmp_path / "a.jsonl", 20_000))

    def interrupt(progress: Progress) -> None:
        if progress.stage == "import":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_source(ws, "c", source, on_progress=interrupt)
    assert 0 < count(ws, "c").items < 20_000
    with ws.atomic() as db:
        db.execute("DELETE FROM collections")

    report = import_source(ws, "c", source)

    assert (report.resumed, report.inserted) == (False, 20_000)


MEASURE_MEMORY = """
import re, sys
from pathlib import Path
from indexer.importers.source import Source
from indexer.importing import import_source
from retrieval.workspace import Workspace
peak = 0
def measure(progress):  # anonymous memory: the database's mapped pages belong to the system
    global peak
    status = Path("/proc/self/status").read_text()
    peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]))
with Workspace(Path(sys.argv[1]), create=True) as ws:
    import_source(ws, "c", Source(kind="jsonl", path=Path(sys.argv[2])), on_progress=measure)
print(peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    def peak_mb(rows: int) -> float:
        source = many_rows(tmp_path / f"{rows}.jsonl", rows)
        command = [sys.executable, "-c", MEASURE_MEMORY, str(tmp_path / f"ws{rows}"), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout) / 1024

    small, large = peak_mb(40_000), peak_mb(160_000)

    # The source grew by 43 MB; SQLite's caches, which have a limit, fill up a little more.
    assert large < small + 20, (small, large)
