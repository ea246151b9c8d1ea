"""Forged index files: nothing in them runs, and none is unpacked. Damaged ones: test_publishing.py."""

import hashlib
import io
import json
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import CorruptArtifact, TwinspireError
from retrieval.manifest import MANIFEST_FILE
from retrieval.opening import open_index, open_live
from retrieval.publishing import promote
from retrieval.workspace import Workspace
from tests.faults.files import pickles
from tests.retrieval.index_versions import publish_some

FILES = {"faiss": ["index.faiss", "keys.npy"], "exact": ["keys.npy", "vectors.npy"]}


def forge(folder: Path, name: str, content: bytes) -> None:
    """Replace a file, and make the manifest vouch for it, as somebody with bad intentions would."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


@cache
def bomb() -> bytes:
    """Pack 64 MB of zeros into 64 kB, as `np.savez_compressed` would."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<i8", "fortran_order": False, "shape": (1 << 23,)}
        )
        with archive.open("keys.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(64):
                member.write(bytes(1 << 20))
    return packed.getvalue()


@pytest.mark.parametrize(("backend", "name"), [(kind, name) for kind in FILES for name in FILES[kind]])
def test_a_pickle_in_the_place_of_an_index_file_never_runs(
    workspace: Workspace, backend: str, name: str
) -> None:
    version = publish_some(workspace, backend=backend)
    nest = workspace.root / "nest"

    for pickled in pickles(nest).values():
        forge(workspace.indexes / "c" / version, name, pickled)
        with pytest.raises(CorruptArtifact):
            open_index(workspace, "c", version)

    assert not nest.exists()


def test_a_pickle_in_the_place_of_a_manifest_never_runs(workspace: Workspace) -> None:
    version = publish_some(workspace)
    nest = workspace.root / "nest"

    for pickled in pickles(nest).values():
        (workspace.indexes / "c" / version / MANIFEST_FILE).write_bytes(pickled)
        with pytest.raises(CorruptArtifact):
            open_index(workspace, "c", version)

    assert not nest.exists()


@pytest.mark.parametrize(
    ("backend", "name"), [("faiss", "keys.npy"), ("exact", "keys.npy"), ("exact", "vectors.npy")]
)
def test_an_npz_bomb_is_refused_unopened(workspace: Workspace, backend: str, name: str) -> None:
    version = publish_some(workspace, backend=backend)
    forge(workspace.indexes / "c" / version, name, bomb())

    with pytest.raises(CorruptArtifact):
        open_index(workspace, "c", version)


@pytest.mark.parametrize(
    ("backend", "name"), [("faiss", "keys.npy"), ("exact", "keys.npy"), ("exact", "vectors.npy")]
)
@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array([{}] * 20, dtype=object), id="objects"),
        pytest.param(np.zeros((20, 2, 2)), id="three dimensions"),
        pytest.param(np.array(["x"] * 20), id="texts"),
        pytest.param(np.zeros(()), id="scalar"),
        pytest.param(np.arange(19), id="fewer"),
    ],
)
def test_an_array_of_another_form_is_data_loss(
    workspace: Workspace, backend: str, name: str, array: np.ndarray
) -> None:
    version = publish_some(workspace, backend=backend)
    forged = io.BytesIO()
    np.save(forged, array)
    forge(workspace.indexes / "c" / version, name, forged.getvalue())

    with pytest.raises(CorruptArtifact):
        open_index(workspace, "c", version)


@pytest.mark.parametrize("at", [0, 4, 8, 16, 24, 40, 60])
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_forged_faiss_header_does_not_end_the_process(workspace: Workspace, kind: str, at: int) -> None:
    version = publish_some(workspace, 200, kind=kind)
    file = workspace.indexes / "c" / version / "index.faiss"
    content = bytearray(file.read_bytes())
    content[at : at + 4] = b"\xff\xff\xff\x7f"
    forge(file.parent, file.name, bytes(content))

    try:
        opened = open_index(workspace, "c", version)
    except TwinspireError:
        return
    opened.index.search(np.eye(1, 8, dtype=np.float32), 3)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "3", '{"format": 1}', '{"format": "x"}', "{", "[" * 100_000]
)
def test_json_that_is_no_manifest_gives_way_to_the_version_before(workspace: Workspace, text: str) -> None:
    first, second = publish_some(workspace), publish_some(workspace, seed=1)
    promote(workspace, "c", first)
    promote(workspace, "c", second)
    (workspace.indexes / "c" / second / MANIFEST_FILE).write_text(text)

    opened = open_live(workspace, "c")

    assert opened is not None
    assert opened.version == first


def test_a_manifest_that_names_a_file_elsewhere_is_data_loss(workspace: Workspace) -> None:
    version = publish_some(workspace)
    folder = workspace.indexes / "c" / version
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"]["../../../twinspire.db"] = {"sha256": "0" * 64, "size": 1}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))

    with pytest.raises(CorruptArtifact):
        open_index(workspace, "c", version)
