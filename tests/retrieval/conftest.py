from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.collections import create_collection
from retrieval.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An open workspace with the empty collection "c"."""
    with Workspace(tmp_path / "workspace", create=True) as ws:
        create_collection(ws, "c")
        yield ws


@pytest.fixture(params=["flat", "hnsw"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of a FAISS index: what holds for a scan holds for a graph."""
    return str(request.param)
