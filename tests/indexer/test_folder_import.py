import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from encoders.media.decoding import Decoder
from indexer.folder_import import FolderReport, import_folder
from retrieval.content import Modality
from retrieval.dead_letters import dead_letters
from retrieval.errors import InvalidInput, UnreadableSource
from retrieval.items import StoredItem, get_items, list_items
from retrieval.media_roots import media_roots, resolve_uri
from retrieval.workspace import Workspace
from tests.media.files import container_sound, picture, sound, tone, video, wav


class ImportIt(Protocol):
    """Imports the folder into the collection `c`."""

    def __call__(self, **options: Any) -> FolderReport: ...


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(max_children=1) as decoder:
        yield decoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stuff" / "trips" / "2024").mkdir(parents=True)
    return tmp_path / "stuff"


@pytest.fixture
def import_it(ws: Workspace, folder: Path, decoder: Decoder) -> ImportIt:
    return lambda **options: import_folder(ws, "c", folder, decoder=decoder, **options)


def item(ws: Workspace, id: str) -> StoredItem:
    (found,) = get_items(ws, "c", [id])
    return found


def test_each_modality_becomes_items(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.jpg").write_bytes(picture("JPEG"))
    (folder / "b.flac").write_bytes(sound("FLAC"))
    (folder / "c.m4a").write_bytes(container_sound())
    (folder / "d.mp4").write_bytes(video(seconds=1))
    (folder / "e.md").write_text("# Title")

    report = import_it()

    assert report.inserted == 5
    assert dict(report.modalities) == {"image": 1, "audio": 2, "video": 1, "text": 1}


def test_a_picture_is_described(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "trips" / "2024" / "tour eiffel.png").write_bytes(picture(size=(30, 20)))
    import_it()

    found = item(ws, "trips/2024/tour eiffel.png")
    assert (found.modality, found.text) == (Modality.IMAGE, "")
    assert found.uri == "media://stuff/trips/2024/tour%20eiffel.png"
    assert found.attributes["folder"] == "trips/2024"
    assert (found.attributes["width"], found.attributes["height"]) == (30, 20)
    assert found.attributes["bytes"] == len(picture(size=(30, 20)))
    assert len(found.attributes["sha256"]) == 64


def test_a_sound_is_described(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.wav").write_bytes(sound(seconds=1.5, channels=2))
    import_it()

    attributes = item(ws, "a.wav").attributes
    assert {name: attributes[name] for name in ("duration_s", "sample_rate", "channels")} == {
        "duration_s": 1.5,
        "sample_rate": 16_000,
        "channels": 2,
    }
    assert "width" not in attributes
    assert "folder" not in attributes


def test_a_text_is_its_content(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbfred ship")
    import_it()

    assert (item(ws, "a.txt").modality, item(ws, "a.txt").text) == (Modality.TEXT, "red ship")


def test_the_folder_becomes_a_root(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.png").write_bytes(picture())
    report = import_it()

    assert report.root == "stuff"
    assert resolve_uri(media_roots(ws), item(ws, "a.png").uri) == folder / "a.png"


def test_a_root_may_be_named(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.png").write_bytes(picture())
    import_it(root_name="photos")

    assert item(ws, "a.png").uri == "media://photos/a.png"


def test_the_name_of_another_folder_is_not_taken_from_it(
    ws: Workspace, folder: Path, tmp_path: Path, import_it: ImportIt
) -> None:
    (folder / "a.png").write_bytes(picture())
    import_it()
    other = tmp_path / "elsewhere" / "stuff"
    other.mkdir(parents=True)
    (other / "b.png").write_bytes(picture())

    with pytest.raises(InvalidInput, match="choose another"):
        import_folder(ws, "c", other)


def test_a_second_import_decodes_and_changes_nothing(folder: Path, import_it: ImportIt) -> None:
    (folder / "a.png").write_bytes(picture())
    (folder / "b.wav").write_bytes(sound())
    (folder / "c.txt").write_text("red")
    first = import_it()
    second = import_it()

    assert (first.decoded, second.decoded) == (2, 0)
    assert (second.unchanged, second.changed) == (3, False)


def test_a_touched_file_is_hashed_and_not_decoded(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.png").write_bytes(picture())
    import_it()
    before = item(ws, "a.png")
    os.utime(folder / "a.png", ns=(0, 0))
    report = import_it()

    assert (report.decoded, report.unchanged) == (0, 1)
    assert item(ws, "a.png").rowid == before.rowid
    assert item(ws, "a.png").attributes["modified"] == "1970-01-01T00:00:00.000000Z"


def test_a_changed_file_is_replaced(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.png").write_bytes(picture(size=(30, 20)))
    import_it()
    before = item(ws, "a.png")
    (folder / "a.png").write_bytes(picture(size=(40, 20)))
    report = import_it()

    assert (report.replaced, report.decoded) == (1, 1)
    assert item(ws, "a.png").attributes["width"] == 40
    assert item(ws, "a.png").rowid > before.rowid


def test_metadata_gives_captions_ids_and_attributes(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.png").write_bytes(picture())
    (folder / "trips" / "b.png").write_bytes(picture())
    (folder / "metadata.csv").write_text(
        "file,caption,id,year,note\na.png,a red ship,ship,1990,\ntrips/b.png,,,1991,old\n"
    )
    report = import_it()

    assert report.rows_without_file == 0
    assert (item(ws, "ship").text, item(ws, "ship").attributes["year"]) == ("a red ship", 1990)
    assert "note" not in item(ws, "ship").attributes
    assert (item(ws, "trips/b.png").text, item(ws, "trips/b.png").attributes["note"]) == ("", "old")


def test_metadata_may_name_files_without_their_folder(
    ws: Workspace, folder: Path, import_it: ImportIt, tmp_path: Path
) -> None:
    (folder / "trips" / "b.png").write_bytes(picture())
    (tmp_path / "told.csv").write_text("filename\ttext\nb.png\tblue\nmissing.png\tred\n")
    report = import_it(metadata=tmp_path / "told.csv")

    assert item(ws, "trips/b.png").text == "blue"
    assert report.rows_without_file == 1


def test_accents_are_found_however_they_are_written(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "e\u0301te\u0301.png").write_bytes(picture())
    (folder / "metadata.csv").write_text("file,text\n\u00e9t\u00e9.png,summer\n")
    import_it()

    assert item(ws, "e\u0301te\u0301.png").text == "summer"


def test_changed_metadata_changes_items_and_decodes_nothing(
    ws: Workspace, folder: Path, import_it: ImportIt
) -> None:
    (folder / "a.png").write_bytes(picture())
    (folder / "metadata.csv").write_text("file,text,year\na.png,red,1990\n")
    import_it()
    (folder / "metadata.csv").write_text("file,text,year\na.png,blue,1991\n")
    report = import_it()

    assert (report.replaced, report.decoded) == (1, 0)
    assert (item(ws, "a.png").text, item(ws, "a.png").attributes["year"]) == ("blue", 1991)


def test_metadata_without_a_file_column_is_refused(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.png").write_bytes(picture())
    (folder / "metadata.csv").write_text("name,text\na.png,red\n")

    with pytest.raises(UnreadableSource, match="file_name"):
        import_it()


def test_what_cannot_be_read_is_set_aside_and_stops_nothing(
    ws: Workspace, folder: Path, import_it: ImportIt
) -> None:
    (folder / "a.png").write_bytes(picture())
    (folder / "b.png").write_bytes(b"GIF89a")
    (folder / "c.wav").write_bytes(wav(np.full((100, 1), np.nan, np.float32)))
    (folder / "d.txt").write_bytes(b"\xff\xfe")
    (folder / "e.txt").write_text("  ")
    report = import_it()

    assert (report.inserted, report.rejected) == (1, 4)
    assert {letter.uri: letter.reason for letter in dead_letters(ws, "c")} == {
        "media://stuff/b.png": "MEDIA_UNREADABLE",
        "media://stuff/c.wav": "MEDIA_UNREADABLE",
        "media://stuff/d.txt": "INVALID_ITEM",
        "media://stuff/e.txt": "INVALID_ITEM",
    }
    assert [name for name, _ in report.examples] == ["b.png", "c.wav", "d.txt", "e.txt"]


def test_a_mended_file_leaves_the_dead_letters(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.png").write_bytes(b"GIF89a")
    import_it()
    (folder / "a.png").write_bytes(picture())
    report = import_it()

    assert report.inserted == 1
    assert dead_letters(ws, "c") == []


def test_hidden_files_foreign_links_and_other_formats_are_counted(
    ws: Workspace, folder: Path, tmp_path: Path, import_it: ImportIt
) -> None:
    (folder / "a.png").write_bytes(picture())
    (folder / ".hidden.png").write_bytes(picture())
    (folder / "a.pdf").write_bytes(b"%PDF")
    (tmp_path / "secret.png").write_bytes(picture())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "loop").symlink_to(folder)
    (folder / "own.png").symlink_to(folder / "a.png")
    report = import_it()

    assert dict(report.skipped) == {"hidden": 1, "other formats": 1, "links": 2}
    assert [found.id for found in list_items(ws, "c")] == ["a.png", "own.png"]


def test_of_two_files_with_one_id_the_last_wins(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / "a.png").write_bytes(picture(size=(10, 10)))
    (folder / "b.png").write_bytes(picture(size=(20, 10)))
    (folder / "metadata.csv").write_text("file,id\na.png,same\nb.png,same\n")
    reports = [import_it(), import_it()]

    assert [report.duplicates for report in reports] == [1, 1]
    assert item(ws, "same").attributes["width"] == 20
    assert not reports[1].changed


def test_a_name_that_is_no_text_is_set_aside(ws: Workspace, folder: Path, import_it: ImportIt) -> None:
    (folder / os.fsdecode(b"\xff.png")).write_bytes(picture())
    (folder / "a.png").write_bytes(picture())
    report = import_it()

    assert (report.inserted, report.rejected) == (1, 1)
    assert [letter.uri for letter in dead_letters(ws, "c")] == ["media://stuff/?.png"]


def test_thumbnails_are_small_files_in_the_workspace(
    ws: Workspace, folder: Path, import_it: ImportIt
) -> None:
    (folder / "a.png").write_bytes(picture(size=(800, 600)))
    (folder / "b.mp4").write_bytes(video(seconds=1))
    (folder / "c.wav").write_bytes(sound())
    import_it(thumbnails=True)

    for id in ("a.png", "b.mp4"):
        assert (ws.root / item(ws, id).attributes["thumbnail"]).read_bytes()[8:12] == b"WEBP"
    assert "thumbnail" not in item(ws, "c.wav").attributes


def test_a_stopped_import_is_completed_by_the_next(
    ws: Workspace, folder: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.folder_import.BATCH_FILES", 2)
    for number in range(6):
        (folder / f"{number}.wav").write_bytes(wav(tone(0.1, hertz=100 * number + 100)))

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_folder(ws, "c", folder, decoder=decoder, on_progress=stop)
    report = import_folder(ws, "c", folder, decoder=decoder)

    assert (report.unchanged, report.inserted, report.decoded) == (2, 4, 4)


def test_an_empty_folder_is_refused(import_it: ImportIt) -> None:
    with pytest.raises(UnreadableSource, match="holds no media"):
        import_it()


def test_a_missing_folder_is_refused(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="expected a folder"):
        import_folder(ws, "c", tmp_path / "nowhere")
