import sys
from pathlib import Path

import pytest

from encoders.media.decoding import Decoder
from indexer.folder_import import import_folder
from retrieval.collections import collection_names
from retrieval.dead_letters import dead_letters
from retrieval.errors import MissingExtra
from retrieval.workspace import Workspace
from tests.encoders.media.decoded import AUDIO, IMAGE, VIDEO, decode
from tests.media.files import container_sound, picture, sound, video

INSTALLED = next(Path(folder) for folder in sys.path if (Path(folder) / "soundfile.py").exists())


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which neither Pillow nor PyAV is installed."""
    (tmp_path / "site").mkdir()
    for entry in INSTALLED.iterdir():
        if entry.name not in ("PIL", "av"):
            (tmp_path / "site" / entry.name).symlink_to(entry)
    monkeypatch.setattr(
        sys, "path", [str(tmp_path / "site") if Path(f) == INSTALLED else f for f in sys.path]
    )
    for name in [name for name in sys.modules if name.partition(".")[0] in ("PIL", "av")]:
        monkeypatch.delitem(sys.modules, name)


PICTURE, VIDEO_FILE, M4A, TONE = picture(), video(seconds=0.2), container_sound(), sound()


@pytest.mark.usefixtures("without")
def test_a_missing_library_is_told_by_its_extra() -> None:
    with Decoder(max_children=1) as decoder:
        with pytest.raises(MissingExtra, match=r"twinspire\[image\]"):
            decoder.decode([(PICTURE, IMAGE, None)])
        with pytest.raises(MissingExtra, match=r"twinspire\[video\]"):
            decoder.decode([(VIDEO_FILE, VIDEO, None)])
        with pytest.raises(MissingExtra, match=r"twinspire\[image\]"):
            decoder.facts(PICTURE)


@pytest.mark.usefixtures("without")
def test_a_format_that_needs_another_library_fails_alone() -> None:
    with Decoder(max_children=1) as decoder:
        assert len(decode(decoder, TONE, AUDIO)) == 8_000
        with pytest.raises(MissingExtra, match=r"twinspire\[video\]"):
            decode(decoder, M4A, AUDIO)


@pytest.mark.usefixtures("without")
def test_an_import_blames_no_file_for_a_missing_library(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(PICTURE)
    with Workspace(tmp_path / "ws", create=True) as ws, Decoder(max_children=1) as decoder:
        with pytest.raises(MissingExtra):
            import_folder(ws, "c", tmp_path / "folder", decoder=decoder)

        assert collection_names(ws) == ["c"]
        assert dead_letters(ws, "c") == []
