"""A workspace to export, and a bundle of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer.exporting import export_bundle
from retrieval.workspace import Workspace
from tests.server.workspaces import make_workspace


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path / "workspace") as ws:
        yield ws


@pytest.fixture
def bundle(source: Workspace, tmp_path: Path) -> Path:
    export_bundle(source, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Read all files of a folder."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(it.relative_to(folder)): it.read_bytes() for it in folder.rglob("*") if it.is_file()}

    return read
