"""Windows of long sounds change with the version that is live, and not before."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from encoders.vectors import unit_rows
from indexer.indexing import index_collection
from indexer.progress import Progress
from retrieval.content import Modality
from retrieval.database import Database
from retrieval.embeddings import embedded_keys
from retrieval.errors import VersionMoved
from retrieval.exact_index import KEYS_FILE
from retrieval.items import Item, upsert_items
from retrieval.media_roots import uri_of
from retrieval.migrations import migrations
from retrieval.opening import OpenIndex, open_live
from retrieval.publishing import live_version, promote, roll_back
from retrieval.search import VectorQuery
from retrieval.searcher import Searcher, make_searcher
from retrieval.windows import window_media
from retrieval.workspace import Workspace
from tests.media.conftest import add, write_tones
from tests.media.simple_encoders import add_encoder
from tests.server.running import run_server

QUERY = unit_rows(np.array([[0.1, 0.1, 0.2, 1.0]], np.float32))[0]


@pytest.fixture
def song(ws: Workspace, folder: Path) -> Workspace:
    """A song of 20 s whose second and fourth quarters are high, live in windows of 5 s."""
    write_tones(folder / "song.wav", 200, 3000, 200, 3000, seconds=5)
    add(ws, Modality.AUDIO, "song.wav", duration_s=20.0)
    add_encoder(ws, "pitch")
    index_collection(ws, "c", "pitch", windows_s=5)
    return ws


@contextmanager
def searching(
    ws: Workspace, make: Callable[[Workspace, str, OpenIndex], Searcher] = Searcher
) -> Iterator[Searcher]:
    opened = open_live(ws, "c")
    assert opened is not None
    with closing(make(ws, "c", opened)) as searcher:
        yield searcher


def found(searcher: Searcher) -> list[tuple[str, tuple[float, float] | None, float]]:
    """Search for every moment that there is."""
    (result,) = searcher.search([VectorQuery(vector=QUERY, limit=20, moments=20)])
    assert not isinstance(result, Exception)
    return [(hit.id, hit.span, round(hit.score, 6)) for hit in result.hits]


def test_the_live_version_answers_the_same_while_others_windows_are_built(song: Workspace) -> None:
    with searching(song) as running:
        before = found(running)

        report = index_collection(song, "c", "pitch", windows_s=2, promote=False)

        assert report.count == 11
        running.refresh()
        assert found(running) == before
        with searching(song) as started_later:
            assert found(started_later) == before
            vector = started_later.item_vector("song.wav")
            np.testing.assert_array_equal(vector, running.item_vector("song.wav"))


def test_the_live_version_answers_the_same_after_an_index_that_was_interrupted(song: Workspace) -> None:
    with searching(song) as searcher:
        before, vector = found(searcher), searcher.item_vector("song.wav")

    def interrupt(progress: Progress) -> None:
        if progress.stage == "build":  # the vectors of the new windows are stored
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_collection(song, "c", "pitch", windows_s=0.5, on_progress=interrupt)

    with searching(song) as searcher:
        assert found(searcher) == before
        np.testing.assert_array_equal(searcher.item_vector("song.wav"), vector)


def test_an_index_whose_windows_another_job_changed_is_not_published(song: Workspace) -> None:
    live = live_version(song, "c")

    def another_job(progress: Progress) -> None:
        if progress.stage == "encode" and not progress.done:
            window_media(song, "c", 5)

    with pytest.raises(VersionMoved, match="to have 2 s, meanwhile 5 s"):
        index_collection(song, "c", "pitch", windows_s=2, promote=False, on_progress=another_job)
    assert live_version(song, "c") == live
    assert index_collection(song, "c", "pitch", windows_s=2).count == 11


@pytest.mark.usefixtures("redis_backend")
def test_a_version_in_redis_answers_the_same_while_others_windows_are_built(song: Workspace) -> None:
    index_collection(song, "c", "pitch", backend="redis")
    with searching(song, make_searcher) as searcher:
        before = found(searcher)
        index_collection(song, "c", "pitch", backend="redis", windows_s=2, promote=False)
        searcher.refresh()
        searcher.share(["song.wav"])

        assert found(searcher) == before
        assert searcher.fresh_count == 0
        index_collection(song, "c", "pitch", backend="redis")

    with searching(song, make_searcher) as searcher:
        assert _lengths(searcher) == {2.0}


def test_windows_of_another_length_are_gone_once_no_version_holds_them(song: Workspace) -> None:
    index_collection(song, "c", "pitch", windows_s=0, keep=1)
    with_previous = _windows(song)
    index_collection(song, "c", "pitch", windows_s=2, keep=1)

    assert with_previous == {5.0}  # a rollback would need them
    assert _windows(song) == {2.0}


def test_a_rollback_answers_as_before(song: Workspace) -> None:
    with searching(song) as searcher:
        before = found(searcher)

    index_collection(song, "c", "pitch", windows_s=2)
    with searching(song) as searcher:
        assert _lengths(searcher) == {2.0}
    roll_back(song, "c")

    with searching(song) as searcher:
        assert found(searcher) == before


def test_the_index_after_a_rollback_has_the_windows_that_were_rolled_back_to(song: Workspace) -> None:
    first = live_version(song, "c")
    index_collection(song, "c", "pitch", windows_s=2)
    roll_back(song, "c")

    again = index_collection(song, "c", "pitch")

    assert (again.version, again.nothing_new) == (first, True)
    assert live_version(song, "c") == first


def test_a_version_that_stands_in_for_a_rotten_one_does_not_take_its_windows_away(song: Workspace) -> None:
    rotten = index_collection(song, "c", "pitch", windows_s=2)
    (song.indexes / "c" / rotten.version / KEYS_FILE).write_bytes(b"rot")
    with searching(song) as searcher:
        assert _lengths(searcher) == {5.0}

    assert index_collection(song, "c", "pitch").count == 11


def test_a_version_may_be_promoted_by_hand_later(song: Workspace) -> None:
    report = index_collection(song, "c", "pitch", windows_s=2, promote=False)

    promote(song, "c", report.version)

    with searching(song) as searcher:
        assert _lengths(searcher) == {2.0}


def test_what_comes_later_is_cut_at_the_next_index(song: Workspace, folder: Path) -> None:
    write_tones(folder / "new.wav", 200, 3000, seconds=5)
    add(song, Modality.AUDIO, "new.wav", duration_s=10.0)
    replaced = Item(
        "song.wav",
        Modality.AUDIO,
        uri=uri_of("media", Path("song.wav")),
        content_hash="0" * 64,
        attributes={"duration_s": 20.0},
    )
    upsert_items(song, "c", [replaced])

    report = index_collection(song, "c", "pitch")

    assert report.count == 5 + 3
    assert index_collection(song, "c", "pitch").nothing_new


def test_a_corrected_duration_moves_the_windows(song: Workspace) -> None:
    add(song, Modality.AUDIO, "song.wav", duration_s=12.0)

    index_collection(song, "c", "pitch")

    spans = song.fetch("SELECT start, end FROM segments WHERE start IS NOT NULL ORDER BY start")
    assert [*map(tuple, spans)] == [(0, 5), (5, 10), (7, 12)]


def test_a_server_that_starts_meanwhile_leaves_them_to_the_index(song: Workspace) -> None:
    window_media(song, "c", 2)

    with contextmanager(run_server)(song):
        pass

    assert len(embedded_keys(song, "c", _fingerprint(song))) == 1  # the whole


def test_the_length_asked_for_goes_on_where_a_run_was_interrupted(song: Workspace) -> None:
    window_media(song, "c", 2)  # and no further

    assert window_media(song, "c") == 2
    assert index_collection(song, "c", "pitch").count == 11


def test_an_index_of_short_sounds_remembers_the_length_too(ws: Workspace, folder: Path) -> None:
    write_tones(folder / "short.wav", 200, seconds=1)
    add(ws, Modality.AUDIO, "short.wav", duration_s=1.0)
    add_encoder(ws, "pitch")
    without = index_collection(ws, "c", "pitch")

    with_windows = index_collection(ws, "c", "pitch", windows_s=5)

    assert with_windows.version != without.version
    assert live_version(ws, "c") == with_windows.version


def test_windows_of_a_workspace_made_before_lengths_were_kept_go_on(song: Workspace) -> None:
    keys = embedded_keys(song, "c", _fingerprint(song))
    with song.atomic() as db:
        _forget_lengths(db)
    root = song.root
    song.close()

    with Workspace(root) as again:
        assert again.fetch("SELECT window_s FROM collections") == [(5.0,)]
        np.testing.assert_array_equal(embedded_keys(again, "c", _fingerprint(again)), keys)


def _forget_lengths(db: Database) -> None:
    """Take back what the migration does."""
    for statement in (
        "ALTER TABLE collections DROP COLUMN window_s",
        "ALTER TABLE segments DROP COLUMN window_s",
        f"DELETE FROM {migrations.migrations_table} WHERE name = '005_windows'",
    ):
        db.execute(statement)


def _lengths(searcher: Searcher) -> set[float]:
    return {span[1] - span[0] for _, span, _ in found(searcher) if span is not None}


def _fingerprint(ws: Workspace) -> str:
    return str(ws.fetch("SELECT fingerprint FROM encoders")[0][0])


def _windows(ws: Workspace) -> set[float]:
    return {length for (length,) in ws.fetch("SELECT window_s FROM segments WHERE window_s IS NOT NULL")}
