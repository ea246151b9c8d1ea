import json
from pathlib import Path

import pytest

from retrieval.dead_letters import DeadLetter, put_dead_letters
from retrieval.errors import InvalidInput, UriNotAllowed
from retrieval.media_roots import add_media_root, media_roots, resolve_uri, uri_of
from retrieval.workspace import Workspace
from twinspire.cli import run


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.org/a.png",
        "file:///etc/passwd",
        "a.png",
        "media://other/a.png",
        "media://media",
        "media://media/",
        "media://media/../secret.png",
        "media://media/%2e%2e/secret.png",
        "media://media/sub/../../secret.png",
        "media://media//etc/passwd",
        "media://media/link/secret.png",
        "media://media/nul%00.png",
    ],
)
def test_nothing_outside_a_root_is_found(ws: Workspace, folder: Path, uri: str) -> None:
    (folder.parent / "secret.png").write_bytes(b"secret")
    (folder / "link").symlink_to(folder.parent)

    with pytest.raises(UriNotAllowed) as refused:
        resolve_uri(media_roots(ws), uri)

    assert str(folder) not in str(refused.value)


@pytest.mark.parametrize("name", ["a b.png", "100%.png", "ä/ö.png", "a?b#c.png", "..png"])
def test_a_uri_leads_back_to_its_file(ws: Workspace, folder: Path, name: str) -> None:
    assert resolve_uri(media_roots(ws), uri_of("media", Path(name))) == (folder / name).resolve()


def test_a_root_has_a_name_and_a_folder(ws: Workspace, folder: Path) -> None:
    for name, place in (("", folder), ("a/b", folder), ("..", folder), ("new", folder / "missing")):
        with pytest.raises(InvalidInput):
            add_media_root(ws, name, place)


def test_a_root_that_moved_is_set_anew(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "moved").mkdir()
    command = ["--workspace", str(ws.root), "roots"]

    assert run([*command, "set", "media", str(tmp_path / "moved")]) == 0
    capsys.readouterr()
    assert run([*command, "--json"]) == 0

    listed = json.loads(capsys.readouterr().out)
    assert listed == {"media": {"folder": str(tmp_path / "moved"), "exists": True}}


def test_the_doctor_misses_a_folder_and_tells_of_dead_letters(
    ws: Workspace, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_dead_letters(ws, "c", [DeadLetter("media://media/a.png", "MEDIA_UNREADABLE", "why")])
    folder.rmdir()

    run(["--workspace", str(ws.root), "doctor", "--json"])

    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["media://media/"]["state"] == "warning"
    assert "1 could not be read" in checks["c: dead letters"]["found"]
