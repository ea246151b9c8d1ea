"""Faults of import sources: nothing in them runs, and nothing is written before they are known to be good."""

import os
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.importers.kinds import READERS
from indexer.importers.source import Source
from indexer.importing import import_source
from retrieval.collections import collection_names
from retrieval.errors import InvalidInput, TwinspireError
from retrieval.items import list_items
from retrieval.workspace import Workspace
from tests.faults.files import Canary, Damage, empty, pickles, truncate

KINDS = sorted(READERS)


def source_of(kind: str, path: Path) -> Source:
    """Name a file as a source of a kind; a BEIR folder is made of it, and TREC gets it as queries too."""
    if kind == "beir":
        folder = path.with_suffix(".beir")
        folder.mkdir(exist_ok=True)
        path.replace(folder / "corpus.jsonl")
        return Source(kind=kind, path=folder)
    return Source(kind=kind, path=path, queries=path if kind == "trec" else None)


def passages(file: Path, *, blob: bytes | None = None) -> Path:
    """Write a SQLite table of 500 passages, each with a blob if one is given."""
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE passages(id TEXT PRIMARY KEY, text TEXT, extra BLOB)")
        rows = [(f"p{number}", f"passage {number} " * 20, blob) for number in range(500)]
        connection.executemany("INSERT INTO passages VALUES (?, ?, ?)", rows)
    connection.close()
    return file


def parquet(file: Path, *, blob: bytes = b"") -> Path:
    columns = {
        "id": [f"p{number}" for number in range(500)],
        "text": ["a passage"] * 500,
        "extra": [blob] * 500,
    }
    pq.write_table(pa.table(columns), file)
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_in_the_place_of_a_source_never_runs(
    workspace: Workspace, tmp_path: Path, kind: str
) -> None:
    nest, file = tmp_path / "nest", tmp_path / "source"

    for pickled in pickles(nest).values():
        file.write_bytes(pickled)
        with pytest.raises(InvalidInput):
            import_source(workspace, "new", source_of(kind, file))

    assert not nest.exists()
    assert collection_names(workspace) == ["c"]


def test_a_pickle_in_a_column_of_a_table_never_runs(workspace: Workspace, tmp_path: Path) -> None:
    nest = tmp_path / "nest"
    file = passages(tmp_path / "source.db", blob=pickle.dumps(Canary(nest)))

    report = import_source(workspace, "new", Source(kind="sqlite", path=file))

    assert report.inserted == 500
    assert not nest.exists()
    assert all("extra" not in item.attributes for item in list_items(workspace, "new", limit=1000))


def test_a_pickle_in_a_column_of_a_parquet_file_never_runs(workspace: Workspace, tmp_path: Path) -> None:
    nest = tmp_path / "nest"
    file = parquet(tmp_path / "source.parquet", blob=pickle.dumps(Canary(nest)))

    with pytest.raises(InvalidInput, match="got bytes"):
        import_source(workspace, "new", Source(kind="parquet", path=file))

    assert not nest.exists()


@pytest.mark.parametrize("damage", [truncate, empty])
@pytest.mark.parametrize(("kind", "make"), [("sqlite", passages), ("parquet", parquet)])
def test_a_damaged_source_is_refused_and_nothing_written(
    workspace: Workspace, tmp_path: Path, kind: str, make: Callable[[Path], Path], damage: Damage
) -> None:
    file = make(tmp_path / "source")
    damage(file)

    with pytest.raises(InvalidInput):
        import_source(workspace, "new", Source(kind=kind, path=file))

    assert collection_names(workspace) == ["c"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 4096, b"\xff\xfe\xfd" * 999, b"\n\n\n"],
    ids=["empty", "zeros", "junk", "blank"],
)
def test_a_source_of_junk_is_refused_and_nothing_written(
    workspace: Workspace, tmp_path: Path, kind: str, content: bytes
) -> None:
    (tmp_path / "source").write_bytes(content)

    with pytest.raises(InvalidInput):
        import_source(workspace, "new", source_of(kind, tmp_path / "source"))

    assert collection_names(workspace) == ["c"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_source_is_refused_without_telling_where(
    workspace: Workspace, tmp_path: Path, kind: str
) -> None:
    missing = tmp_path / "absent"

    with pytest.raises(TwinspireError) as fault:
        import_source(workspace, "new", Source(kind=kind, path=missing, queries=missing))

    assert "absent" in str(fault.value)
    assert str(tmp_path) not in str(fault.value)
    assert collection_names(workspace) == ["c"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_source_that_may_not_be_read_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    file = passages(tmp_path / "source.db")
    file.chmod(0)

    with pytest.raises(InvalidInput):
        import_source(workspace, "new", Source(kind="sqlite", path=file))
