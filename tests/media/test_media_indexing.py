from pathlib import Path

import numpy as np

from indexer.indexing import index_collection
from retrieval.content import Modality
from retrieval.dead_letters import clear_dead_letters, dead_letters
from retrieval.features import count_features
from retrieval.items import delete_items
from retrieval.workspace import Workspace
from tests.media.conftest import add, write_tones
from tests.media.simple_encoders import add_encoder


def test_pictures_become_vectors(ws: Workspace, pictures: Path) -> None:
    add_encoder(ws, "colour")

    report = index_collection(ws, "c", "colour")

    assert (report.encoded, report.count, report.set_aside) == (4, 4, 0)


def test_a_second_index_finds_nothing_to_do(ws: Workspace, pictures: Path) -> None:
    add_encoder(ws, "colour")
    index_collection(ws, "c", "colour")
    for file in pictures.iterdir():
        file.unlink()  # what is not read is not missed

    report = index_collection(ws, "c", "colour")

    assert report.nothing_new


def test_a_picture_that_cannot_be_read_is_set_aside_and_the_others_are_indexed(
    ws: Workspace, pictures: Path
) -> None:
    (pictures / "red.png").write_bytes(b"not a picture")
    add_encoder(ws, "colour")

    report = index_collection(ws, "c", "colour")

    (letter,) = dead_letters(ws, "c")
    assert (report.count, report.set_aside) == (3, 1)
    assert (letter.uri, letter.reason) == ("media://media/red.png", "MEDIA_UNREADABLE")


def test_what_was_set_aside_is_not_tried_again_until_it_is_asked_for(ws: Workspace, pictures: Path) -> None:
    good = (pictures / "red.png").read_bytes()
    (pictures / "red.png").write_bytes(b"not a picture")
    add_encoder(ws, "colour")
    index_collection(ws, "c", "colour")
    (pictures / "red.png").write_bytes(good)

    assert index_collection(ws, "c", "colour").nothing_new
    clear_dead_letters(ws, "c")
    assert index_collection(ws, "c", "colour").count == 4


def test_a_uri_outside_the_roots_is_set_aside(ws: Workspace, folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes(b"secret")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    add(ws, Modality.IMAGE, "link.png")
    add_encoder(ws, "colour")

    index_collection(ws, "c", "colour")

    assert [letter.reason for letter in dead_letters(ws, "c")] == ["URI_NOT_ALLOWED"]


def test_a_new_fusion_of_the_same_features_reads_no_file(ws: Workspace, folder: Path) -> None:
    write_tones(folder / "low.wav", 200)
    write_tones(folder / "high.wav", 3000)
    add(ws, Modality.AUDIO, "low.wav", "high.wav")
    add_encoder(ws, "pitch", name="first", layer=0)
    other = add_encoder(ws, "pitch", name="second", layer=1)
    index_collection(ws, "c", "first")
    (folder / "low.wav").unlink()

    report = index_collection(ws, "c", "second")

    assert (report.count, report.set_aside) == (2, 0)
    assert report.fingerprint == other.fingerprint


def test_features_are_kept_for_each_sound(ws: Workspace, folder: Path) -> None:
    write_tones(folder / "low.wav", 200)
    (folder / "bad.wav").write_bytes(b"RIFF")
    add(ws, Modality.AUDIO, "low.wav", "bad.wav")
    add_encoder(ws, "pitch")

    first = index_collection(ws, "c", "pitch")
    again = index_collection(ws, "c", "pitch")

    assert count_features(ws, "c", "pitch" * 8) == 1
    assert (first.set_aside, again.nothing_new) == (1, True)


def test_windows_are_indexed_beside_the_whole(ws: Workspace, folder: Path) -> None:
    write_tones(folder / "song.wav", 200, 3000, 200, seconds=5)
    add(ws, Modality.AUDIO, "song.wav", duration_s=15.0)
    add_encoder(ws, "pitch")

    report = index_collection(ws, "c", "pitch", windows_s=5)

    assert report.count == 4
    assert index_collection(ws, "c", "pitch", windows_s=5).nothing_new
    assert index_collection(ws, "c", "pitch", windows_s=0).count == 1


def test_deleting_an_item_deletes_its_features_and_letters(ws: Workspace, folder: Path) -> None:
    (folder / "bad.wav").write_bytes(b"RIFF")
    write_tones(folder / "low.wav", 200)
    add(ws, Modality.AUDIO, "bad.wav", "low.wav")
    add_encoder(ws, "pitch")
    index_collection(ws, "c", "pitch")

    delete_items(ws, "c", ["bad.wav", "low.wav"])

    assert dead_letters(ws, "c") == []
    assert count_features(ws, "c", "pitch" * 8) == 0


def test_a_batch_may_be_all_bad(ws: Workspace, folder: Path) -> None:
    (folder / "a.png").write_bytes(b"")
    (folder / "b.png").write_bytes(b"<svg/>")
    add(ws, Modality.IMAGE, "a.png", "b.png")
    add_encoder(ws, "colour")

    report = index_collection(ws, "c", "colour")

    assert (report.count, report.set_aside) == (0, 2)


def test_vectors_do_not_depend_on_what_failed_beside_them(ws: Workspace, pictures: Path) -> None:
    from retrieval.embeddings import read_embeddings

    card = add_encoder(ws, "colour")
    (pictures / "blue.png").write_bytes(b"")
    index_collection(ws, "c", "colour")

    ((_, vectors),) = read_embeddings(ws, "c", card.fingerprint)

    np.testing.assert_allclose(vectors[0], [1, 0, 0, 0.01], atol=1e-3)
