"""The versions that indexing makes, promotes, keeps and prunes."""

import pytest

from indexer.indexing import IndexReport, index_collection
from indexer.progress import Progress
from retrieval.errors import VersionMoved
from retrieval.publishing import list_versions, live_version, promote, roll_back
from retrieval.workspace import Workspace
from tests.indexer.encoders import add_model
from tests.indexer.filling import WORDS, add_items


def test_another_encoder_makes_another_version(filled: Workspace) -> None:
    index_collection(filled, "c", "test")
    add_model(filled, WORDS, seed=1)

    report = index_collection(filled, "c", "test")

    assert (report.model, report.encoded) == ("test@2", 300)


def test_without_promotion_the_live_version_stays(filled: Workspace) -> None:
    first = index_collection(filled, "c", "test")
    add_items(filled, 300, 310)

    second = index_collection(filled, "c", "test", promote=False)

    assert not second.promoted
    assert live_version(filled, "c") == first.version


def test_a_version_that_was_only_published_is_promoted_without_another_build(filled: Workspace) -> None:
    built = index_collection(filled, "c", "test", promote=False)

    report = index_collection(filled, "c", "test")

    assert (report.version, report.nothing_new, report.promoted) == (built.version, True, True)
    assert live_version(filled, "c") == built.version


def test_a_version_whose_file_rotted_is_built_again(filled: Workspace) -> None:
    first = index_collection(filled, "c", "test")
    file = next((filled.indexes / "c" / first.version).glob("*.faiss"))
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)

    report = index_collection(filled, "c", "test")

    assert not report.nothing_new
    assert live_version(filled, "c") == report.version


def test_the_newest_versions_are_kept(filled: Workspace) -> None:
    reports: list[IndexReport] = []
    for n in range(5):
        add_items(filled, 300 + n, 301 + n)
        reports.append(index_collection(filled, "c", "test", keep=2))

    assert [version.version for version in list_versions(filled, "c")] == [
        reports[4].version,
        reports[3].version,
    ]
    assert reports[4].pruned == (reports[2].version,)
    assert sorted(folder.name for folder in (filled.indexes / "c").iterdir()) == [
        reports[3].version,
        reports[4].version,
    ]


def test_the_live_version_and_the_one_before_it_are_never_pruned(filled: Workspace) -> None:
    versions = [index_collection(filled, "c", "test").version]
    for n in range(4):
        add_items(filled, 300 + n, 301 + n)
        versions.append(index_collection(filled, "c", "test", promote=n == 0, keep=1).version)

    assert live_version(filled, "c") == versions[1]
    assert roll_back(filled, "c") == versions[0]


def test_a_version_that_another_job_promoted_meanwhile_is_no_quarrel(filled: Workspace) -> None:
    index_collection(filled, "c", "test")
    add_items(filled, 300, 310)
    wanted = index_collection(filled, "c", "test", promote=False)

    def promote_it_first(progress: Progress) -> None:
        if progress.stage == "publish":
            promote(filled, "c", wanted.version)

    assert index_collection(filled, "c", "test", on_progress=promote_it_first).version == wanted.version
    assert live_version(filled, "c") == wanted.version


def test_of_two_publishers_the_loser_is_told_and_its_version_stays_published(filled: Workspace) -> None:
    first = index_collection(filled, "c", "test")
    add_items(filled, 300, 310)
    other = index_collection(filled, "c", "test", promote=False)
    add_items(filled, 310, 320)

    def promote_another(progress: Progress) -> None:
        if progress.stage == "publish":
            promote(filled, "c", other.version)

    with pytest.raises(VersionMoved):
        index_collection(filled, "c", "test", on_progress=promote_another)

    assert live_version(filled, "c") == other.version
    assert len(list_versions(filled, "c")) == 3
    assert index_collection(filled, "c", "test").nothing_new
    assert first.version != other.version
