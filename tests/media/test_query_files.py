"""Files of queries: what is none is refused at once, by the command and by the client."""

import io
import os
import socket
from pathlib import Path

import pytest

from indexer.indexing import index_collection
from retrieval.errors import UnreadableSource
from retrieval.workspace import Workspace
from tests.media.simple_encoders import add_encoder
from twinspire.cli import run
from twinspire.messages import media_message

pytestmark = pytest.mark.timeout(20)
KINDS = ("a folder", "a pipe", "a socket", "a device")


def make(path: Path, kind: str) -> Path:
    """Make what is no file."""
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as place:
            place.bind(str(path))
    else:
        return Path("/dev/zero")
    return path


@pytest.fixture
def searched(ws: Workspace, pictures: Path) -> Workspace:
    add_encoder(ws, "colour")
    index_collection(ws, "c", "colour")
    return ws


def search(ws: Workspace, argument: str) -> int:
    return run(["--workspace", str(ws.root), "search", argument, "--collection", "c", "--limit", "1"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".png", ".txt"])
def test_what_is_no_file_is_refused_at_once(
    searched: Workspace, tmp_path: Path, kind: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make(tmp_path / f"q{suffix}", kind)

    assert search(searched, f"@{file}") == 1

    assert f"@{file}: expected a file, got {kind}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.png", None, "expected a file, got one that is not there"),
        ("empty.png", b"", "expected queries, a picture, a sound or a video, got an empty file"),
        (
            "junk.wav",
            b"\xff\xfe\x00junk",
            "expected lines of UTF-8, a picture, a sound or a video, got the byte 0xff",
        ),
        ("cut.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 50, "query.image: "),
        ("sound.wav", b"RIFF\x00\x00\x00\x00WAVE", "query.audio: the encoder takes text, image, got audio"),
    ],
)
def test_what_is_no_query_is_refused(
    searched: Workspace,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    assert search(searched, f"@{tmp_path / name}") == 1

    assert expected in capsys.readouterr().err


def test_lines_come_from_a_file_or_from_standard_input(
    searched: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = "green\n\n  blue \n".encode("utf-8-sig")
    (tmp_path / "queries.txt").write_bytes(queries)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(queries)))

    for argument in (f"@{tmp_path / 'queries.txt'}", "@-"):
        assert search(searched, argument) == 0

        printed = capsys.readouterr().out
        assert printed.index("green.png") < printed.index("blue.png")


@pytest.mark.parametrize("kind", KINDS)
def test_the_client_sends_no_file_that_is_none(tmp_path: Path, kind: str) -> None:
    file = make(tmp_path / "q.png", kind)

    with pytest.raises(UnreadableSource, match=f"{file.name}: expected a file, got {kind}"):
        media_message(file)
