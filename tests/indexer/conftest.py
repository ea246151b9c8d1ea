from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from indexer.importers.source import Source
from indexer.importing import ImportReport, import_source
from retrieval.collections import create_collection
from retrieval.items import StoredItem, get_items, list_items
from retrieval.workspace import Workspace
from tests.indexer.encoders import add_model
from tests.indexer.filling import WORDS, add_items

ImportInto: TypeAlias = Callable[..., ImportReport]


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path / "workspace", create=True) as workspace:
        yield workspace


@pytest.fixture
def import_into(ws: Workspace, tmp_path: Path) -> ImportInto:
    """Import a source into the collection `c`, with its rejects in `rejects.jsonl`."""

    def do(kind: str, path: Path, **options: Any) -> ImportReport:
        return import_source(
            ws, "c", Source(kind=kind, path=path, **options), rejects=tmp_path / "rejects.jsonl"
        )

    return do


@pytest.fixture
def item(ws: Workspace) -> Callable[[str], StoredItem]:
    """Get one item of the collection `c`."""
    return lambda id: get_items(ws, "c", [id])[0]


@pytest.fixture
def ids(ws: Workspace) -> Callable[[], list[str]]:
    """List the ids of the collection `c`."""
    return lambda: sorted(item.id for item in list_items(ws, "c", limit=1_000_000))


@pytest.fixture
def filled(ws: Workspace) -> Workspace:
    """A workspace with 300 items in the collection `c`, and the encoder `test`."""
    create_collection(ws, "c")
    add_items(ws, 0, 300)
    add_model(ws, WORDS)
    return ws
