"""kill -9 at each step of each job: nothing acknowledged is lost, nothing is half there, and it resumes."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from retrieval.collections import collection_names, create_collection
from retrieval.item_writes import upsert_items
from retrieval.items import Item
from retrieval.manifest import read_manifest
from retrieval.opening import open_live
from retrieval.publishing import list_versions, live_version
from retrieval.registry import list_runs, model_folder
from retrieval.workspace import Workspace
from tests.encoders.conftest import fill
from tests.faults.crashes import check_consistency, copy, digest, finish, kill
from tests.faults.programs import COLLECTION, OLD
from tests.indexer.encoders import add_model


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A workspace with twenty items, closed."""
    with Workspace(tmp_path / "ws", create=True) as ws:
        create_collection(ws, COLLECTION)
        upsert_items(ws, COLLECTION, OLD)
    return tmp_path / "ws"


@pytest.mark.parametrize(
    ("job", "failpoint", "left"),
    [
        ("upsert", "upsert-old-deleted", "old"),
        ("upsert", "upsert-not-committed", "old"),
        ("upsert", "upsert-committed", "new"),
        ("delete", "delete-not-committed", "old"),
        ("delete", "delete-committed", "new"),
    ],
)
def test_kill_9_of_a_write_leaves_all_of_it_or_nothing(
    stored: Path, job: str, failpoint: str, left: str
) -> None:
    before = digest(stored)
    whole = copy(stored, "whole")
    finish(job, whole)
    after = digest(whole)

    kill(job, stored, failpoint)

    assert digest(stored) == (before if left == "old" else after)
    with Workspace(stored) as ws:
        check_consistency(ws, COLLECTION)
    finish(job, stored)
    assert digest(stored) == after


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that got 500 rows, 50 ids twice, without being disturbed; closed."""
    folder = tmp_path_factory.mktemp("imported")
    rows = [{"id": f"i{n % 450}", "text": f"row {n} about {n % 7}", "n": n} for n in range(500)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Workspace(folder / "empty", create=True).close()
    finish("import", copy(folder / "empty", "whole"))
    return folder / "whole"


@pytest.mark.parametrize(
    ("failpoint", "committed"),
    [
        pytest.param("import-batch-not-committed:1", 0, marks=pytest.mark.slow),
        ("import-batch-not-committed:3", 200),
        ("import-batch-committed:3", 300),
        pytest.param("import-batch-committed:5", 500, marks=pytest.mark.slow),
    ],
)
def test_kill_9_of_an_import_resumes_to_the_same_digest(
    imported: Path, failpoint: str, committed: int
) -> None:
    killed = copy(imported.with_name("empty"), failpoint.replace(":", "-"))

    kill("import", killed, failpoint)

    with Workspace(killed) as ws:
        there = ws.fetch("SELECT count(*) FROM items")[0][0]
        assert there == max(0, committed - 50)  # the first fifty rows come again, and the last one wins
        check_consistency(ws, COLLECTION)
    finish("import", killed)
    assert digest(killed) == digest(imported)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a live version of twenty items, and 180 items that came later; beside it "whole"."""
    root = tmp_path_factory.mktemp("indexed") / "ws"
    with Workspace(root, create=True) as ws:
        create_collection(ws, COLLECTION)
        upsert_items(ws, COLLECTION, OLD)
        add_model(ws, ["old", "words", "of", "number", *map(str, range(200))])
    finish("index", root)
    with Workspace(root) as ws:
        late = [Item(f"late{n}", text=f"words of number {n}") for n in range(180)]
        upsert_items(ws, COLLECTION, late)
    finish("index", copy(root, "whole"))
    return root


@pytest.mark.parametrize("failpoint", ["remove-not-live", "remove-versions-deleted"])
def test_kill_9_of_a_removal_leaves_what_the_next_one_removes(indexed: Path, failpoint: str) -> None:
    killed = copy(indexed, failpoint)

    kill("remove", killed, failpoint)

    with Workspace(killed) as ws:
        check_consistency(ws, COLLECTION)
        assert live_version(ws, COLLECTION) is None
    finish("remove", killed)
    with Workspace(killed) as ws:
        assert collection_names(ws) == []
        assert list(ws.indexes.iterdir()) == []


INDEX_STEPS = [
    ("vectors-not-committed:1", "old"),
    ("vectors-not-committed:3", "old"),
    ("vectors-committed:2", "old"),
    ("index-built", "old"),
    ("manifest-files-synced", "old"),
    ("manifest-half-written", "old"),
    ("manifest-not-renamed", "old"),
    ("publish-manifest-written", "old"),
    ("publish-folder-renamed", "old"),
    ("publish-not-committed", "old"),
    ("publish-committed", "old"),
    ("promote-not-committed", "old"),
    ("promote-committed", "new"),
]
# Each takes a second: the quick tests have one of each kind.
QUICK = {"vectors-not-committed:3", "publish-folder-renamed", "promote-committed"}


@pytest.mark.parametrize(
    ("failpoint", "live"),
    [
        pytest.param(*step, id=step[0], marks=() if step[0] in QUICK else pytest.mark.slow)
        for step in INDEX_STEPS
    ],
)
def test_kill_9_of_an_indexing_serves_old_or_new_and_resumes_to_the_same_index(
    indexed: Path, failpoint: str, live: str
) -> None:
    whole, killed = indexed.with_name("whole"), copy(indexed, failpoint.replace(":", "-"))

    kill("index", killed, failpoint)

    with Workspace(killed) as ws:
        opened = open_live(ws, COLLECTION)
        assert opened is not None
        assert opened.manifest.count == (20 if live == "old" else 200)
    finish("index", killed)
    assert digest(killed) == digest(whole)
    assert index_files(killed) == index_files(whole)
    with Workspace(killed) as ws:
        recorded = {version.version for version in list_versions(ws, COLLECTION)}
        on_disk = {folder.name for folder in (ws.indexes / COLLECTION).iterdir()}
        assert recorded <= on_disk
        assert all(name[0] != "." for name in on_disk)


def index_files(root: Path) -> dict[str, str]:
    """Return the sha256 of each file of the live version."""
    with Workspace(root) as ws:
        manifest = read_manifest(ws.indexes / COLLECTION / (live_version(ws, COLLECTION) or ""))
        assert manifest is not None
        return {name: record.sha256 for name, record in manifest.files.items()}


TRAINING_STEPS = [
    "corpus-half-written:2",
    "questions-not-renamed:2",
    "tower-half-written",
    "card-not-renamed",
    "model-not-committed",
]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_of_a_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    with Workspace(tmp_path / "killed", create=True) as ws:
        fill(ws, COLLECTION)
    whole = copy(tmp_path / "killed", "whole")
    finish("train", whole)

    for failpoint in TRAINING_STEPS:  # one after the other, in the same training
        kill("train", tmp_path / "killed", failpoint)
    finish("train", tmp_path / "killed")

    with Workspace(whole) as expected, Workspace(tmp_path / "killed") as resumed:
        weights = [load_file(model_folder(ws, "m", 1) / "tower.safetensors") for ws in (expected, resumed)]
        for name, tensor in weights[0].items():
            np.testing.assert_array_equal(tensor, weights[1][name], err_msg=name)
        assert len(list_runs(resumed)) == 1
        assert not list((resumed.models / "m").glob(".work-*"))
