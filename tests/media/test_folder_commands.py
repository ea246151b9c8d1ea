import json
from pathlib import Path
from typing import Any

import pytest

from tests.media.files import picture
from twinspire.cli import run


@pytest.fixture
def imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A workspace with a picture, and a file that is none."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(picture())
    (tmp_path / "photos" / "b.png").write_text("[/bold] no picture")
    assert twinspire(tmp_path, "import", "folder", str(tmp_path / "photos"), "--collection", "c") == 0
    return tmp_path


def twinspire(folder: Path, *arguments: str) -> int:
    return run(["--workspace", str(folder / "ws"), *arguments])


def json_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_an_import_tells_what_it_did(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = capsys.readouterr()

    assert "c: 1 inserted, 1 rejected (1 image)" in told.out
    assert "b.png: media: its bytes are of no picture" in told.err


def test_an_import_tells_programs_what_it_did(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    twinspire(imported, "import", "folder", str(imported / "photos"), "--collection", "c", "--json")

    report = json_of(capsys)
    assert (report["unchanged"], report["rejected"], report["modalities"]) == (1, 1, {"image": 1})


def test_dead_letters_are_listed(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twinspire(imported, "dead-letters", "c")

    assert "media://photos/b.png" in capsys.readouterr().out


def test_dead_letters_are_forgotten_for_another_try(
    imported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    twinspire(imported, "dead-letters", "c", "--retry", "--json")
    first = json_of(capsys)
    twinspire(imported, "dead-letters", "c", "--json")

    assert [letter["reason"] for letter in first] == ["MEDIA_UNREADABLE"]
    assert json_of(capsys) == []


def test_dead_letters_of_no_collection_are_an_error(
    imported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert twinspire(imported, "dead-letters", "nothing") == 1
    assert "there is no collection" in capsys.readouterr().err
