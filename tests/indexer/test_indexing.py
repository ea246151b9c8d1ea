"""Indexing a collection: what is encoded, what is refused, what a crash leaves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from encoders.card import CARD_FILE
from indexer.indexing import index_collection
from indexer.progress import Progress
from retrieval.collections import count, create_collection
from retrieval.content import Modality
from retrieval.embeddings import count_embeddings, read_embeddings
from retrieval.errors import (
    CollectionNotFound,
    CorruptArtifact,
    EncoderFault,
    InvalidInput,
    ModalityNotServed,
    ModelNotFound,
)
from retrieval.items import Item, delete_items, sequence, upsert_items
from retrieval.opening import open_index
from retrieval.publishing import list_versions, live_version
from retrieval.workspace import Workspace
from tests.indexer.encoders import add_model
from tests.indexer.filling import WORDS, add_items


def test_every_item_is_in_the_live_version(filled: Workspace) -> None:
    report = index_collection(filled, "c", "test")

    opened = open_index(filled, "c", report.version)
    assert live_version(filled, "c") == report.version
    assert len(opened.index.keys) == report.count == report.encoded == 300
    assert opened.manifest.fingerprint == report.fingerprint
    assert opened.manifest.model == "test@1"
    assert opened.manifest.built_key == sequence(filled, "c")


def test_with_nothing_new_the_live_version_stays(filled: Workspace) -> None:
    first = index_collection(filled, "c", "test")

    again = index_collection(filled, "c", "test")

    assert again.nothing_new
    assert (again.version, again.encoded, again.promoted) == (first.version, 0, True)
    assert len(list_versions(filled, "c")) == 1


def test_only_what_is_new_is_encoded(filled: Workspace) -> None:
    index_collection(filled, "c", "test")
    add_items(filled, 300, 320)

    report = index_collection(filled, "c", "test")

    assert (report.nothing_new, report.encoded, report.count) == (False, 20, 320)


def test_a_deleted_item_leaves_with_the_next_version(filled: Workspace) -> None:
    index_collection(filled, "c", "test")
    delete_items(filled, "c", ["i7"])

    report = index_collection(filled, "c", "test")

    assert (report.nothing_new, report.encoded, report.count) == (False, 0, 299)


@pytest.mark.parametrize(
    "change", [{"backend": "exact"}, {"overrides": {"kind": "hnsw"}}, {"recall_target": 0.9}]
)
def test_other_parameters_make_another_version(filled: Workspace, change: dict[str, object]) -> None:
    index_collection(filled, "c", "test")

    report = index_collection(filled, "c", "test", **change)  # type: ignore[arg-type]

    assert (report.nothing_new, report.encoded) == (False, 0)
    assert index_collection(filled, "c", "test", **change).nothing_new  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_any_kind_of_index_is_found_again(filled: Workspace, kind: str) -> None:
    index_collection(filled, "c", "test", overrides={"kind": kind})

    assert index_collection(filled, "c", "test", overrides={"kind": kind}).nothing_new


def test_long_items_are_split_at_the_limit_of_the_encoder(ws: Workspace) -> None:
    create_collection(ws, "c")
    upsert_items(ws, "c", [Item(id="long", text="word1 word2 word3. " * 100), Item(id="short", text="word1")])
    add_model(ws, WORDS, max_words=50)

    report = index_collection(ws, "c", "test")

    assert report.count == count(ws, "c").segments > 6
    assert index_collection(ws, "c", "test").nothing_new


def test_the_whole_item_stays_until_no_version_holds_it(ws: Workspace) -> None:
    create_collection(ws, "c")
    upsert_items(ws, "c", [Item(id="long", text="word1 word2 word3. " * 100)])
    add_model(ws, WORDS, name="wide")
    add_model(ws, WORDS, name="narrow", max_words=50)
    index_collection(ws, "c", "wide")

    spans = index_collection(ws, "c", "narrow", promote=False).count

    assert count(ws, "c").segments == spans + 1
    index_collection(ws, "c", "narrow")
    assert count(ws, "c").segments == spans + 1  # a rollback would need it
    index_collection(ws, "c", "narrow", overrides={"storage": "f16"}, keep=1)
    assert count(ws, "c").segments == spans


def test_an_encoder_that_makes_nan_publishes_nothing(filled: Workspace) -> None:
    table = np.full((len(WORDS) + 2, 16), np.nan, np.float32)
    add_model(filled, WORDS, name="broken", table=table)

    with pytest.raises(EncoderFault):
        index_collection(filled, "c", "broken")

    assert list_versions(filled, "c") == []
    assert live_version(filled, "c") is None


def test_an_encoder_whose_files_changed_is_refused(filled: Workspace) -> None:
    (filled.models / "test" / "1" / "vocabulary.txt").write_text("[PAD]\n[UNK]\nother\n")

    with pytest.raises(CorruptArtifact):
        index_collection(filled, "c", "test")


def test_an_encoder_in_the_place_of_another_is_refused(filled: Workspace) -> None:
    other = add_model(filled, WORDS, name="other", seed=3)
    for file in other.folder.iterdir():
        (filled.models / "test" / "1" / file.name).write_bytes(file.read_bytes())

    with pytest.raises(CorruptArtifact, match="not the one that was registered"):
        index_collection(filled, "c", "test")

    assert (filled.models / "test" / "1" / CARD_FILE).exists()


def test_an_unknown_parameter_is_refused_before_any_work(filled: Workspace) -> None:
    with pytest.raises(InvalidInput):
        index_collection(filled, "c", "test", overrides={"colour": "red"})

    assert count_embeddings(filled, "c", add_model(filled, WORDS).fingerprint) == 0


def test_unknown_names_are_told(filled: Workspace) -> None:
    with pytest.raises(CollectionNotFound):
        index_collection(filled, "other", "test")
    with pytest.raises(ModelNotFound):
        index_collection(filled, "c", "other")


def test_an_empty_collection_gets_an_empty_version(ws: Workspace) -> None:
    create_collection(ws, "c")
    add_model(ws, WORDS)

    report = index_collection(ws, "c", "test")

    assert report.count == 0
    assert index_collection(ws, "c", "test").nothing_new


def test_a_collection_without_anything_for_the_encoder_is_refused(ws: Workspace) -> None:
    create_collection(ws, "c")
    upsert_items(ws, "c", [Item(id="x", modality=Modality.IMAGE, uri="x.png")])
    add_model(ws, WORDS)

    with pytest.raises(ModalityNotServed):
        index_collection(ws, "c", "test")


def test_items_of_another_modality_are_counted(filled: Workspace) -> None:
    upsert_items(filled, "c", [Item(id="x", modality=Modality.IMAGE, uri="x.png")])

    report = index_collection(filled, "c", "test")

    assert (report.count, report.not_served) == (300, 1)
    assert index_collection(filled, "c", "test").nothing_new


def test_progress_tells_every_stage_in_order(filled: Workspace) -> None:
    told: list[Progress] = []

    index_collection(filled, "c", "test", on_progress=told.append)

    assert list(dict.fromkeys(progress.stage for progress in told)) == [
        "check",
        "load",
        "encode",
        "build",
        "fuse",
        "publish",
    ]
    assert Progress("encode", 300, 300) in told
    assert Progress("build", 300, 300) in told


INDEX_SLOWLY = """
import sys, time
from pathlib import Path
import indexer.encoding
from indexer.indexing import index_collection
from retrieval.workspace import Workspace
indexer.encoding.BATCH_SEGMENTS = 20
def slow(progress):
    print(progress.stage, progress.done, flush=True)
    time.sleep(0.02)
index_collection(Workspace(Path(sys.argv[1])), "c", "test", on_progress=slow)
"""


@pytest.mark.parametrize(
    "moment",
    [
        "encode 100",
        "publish 0",
        pytest.param("build 0", marks=pytest.mark.slow),
        pytest.param("fuse 0", marks=pytest.mark.slow),
    ],
)
def test_an_indexing_that_was_killed_goes_on_and_ends_as_one_that_was_not(
    filled: Workspace, moment: str
) -> None:
    command = [sys.executable, "-c", INDEX_SLOWLY, str(filled.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == moment:
                os.kill(process.pid, signal.SIGKILL)
    fingerprint = list_fingerprint(filled)
    encoded = count_embeddings(filled, "c", fingerprint)

    report = index_collection(filled, "c", "test")

    assert encoded >= 80  # one batch may be on its way to the disk
    assert report.encoded == 300 - encoded
    assert report.count == 300
    keys = np.concatenate([keys for keys, _ in read_embeddings(filled, "c", fingerprint)])
    assert np.array_equal(open_index(filled, "c", report.version).index.keys, keys)
    assert live_version(filled, "c") == report.version
    assert [file.name for file in (filled.indexes / "c").iterdir()] == [report.version]


def list_fingerprint(ws: Workspace) -> str:
    return str(ws.fetch("SELECT fingerprint FROM models")[0][0])


def test_what_comes_while_indexing_is_left_to_the_search_beside_it(filled: Workspace) -> None:
    def upsert(progress: Progress) -> None:
        if progress == Progress("build", 0, 0):
            add_items(filled, 300, 310)

    before = sequence(filled, "c")
    report = index_collection(filled, "c", "test", on_progress=upsert)

    assert report.count == 300
    assert open_index(filled, "c", report.version).manifest.built_key == before
    assert not Path(filled.indexes / "c" / ".staged").exists()
