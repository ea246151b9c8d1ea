"""The group *Media* of the fault list, what holds for all of them: docs/faults.md says which test is which.

What is bad is refused wherever it comes in: as a query of a real server, and as a file of an import.
"""

import os
import socket
from pathlib import Path

import grpc
import pytest
from psutil import Process

from encoders.media.decoding import Decoder
from indexer.folder_import import import_folder
from retrieval.content import Modality
from retrieval.dead_letters import dead_letters
from tests.encoders.media.decoded import decode
from tests.encoders.media.processes import children, crash, end
from tests.media.faults.system import Refused, System
from tests.media.files import (
    picture,
    png_bomb,
)


def test_empty_media_are_refused(system: System) -> None:
    assert system.failure(Modality.IMAGE, content=b"").code == grpc.StatusCode.INVALID_ARGUMENT
    assert system.dead_letter(b"", ".png") == "MEDIA_UNREADABLE"


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.AUDIO, Modality.VIDEO])
def test_a_text_is_no_media(refused: Refused, modality: Modality) -> None:
    refused(b"a red ship in the harbour\n" * 10, modality)


def test_an_svg_is_refused(refused: Refused) -> None:
    refused(
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
    )


def test_an_unknown_format_is_refused(refused: Refused) -> None:
    refused(bytes(range(256)) * 4)


def test_a_crash_of_the_decoder_fails_one_query(system: System) -> None:
    (child,) = _servers_children(system)
    with crash(child):
        failure = system.failure(Modality.IMAGE, content=png_bomb(10_900, 10_900))

    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MEDIA_UNREADABLE")


def _servers_children(system: System) -> list[Process]:
    """Let the server have one decoding process, and find it."""
    own = {child.pid for child in children()}
    for child in children():
        end(child)
    decode(system.decoder, picture())
    mine = {child.pid for child in children()} - own
    system.find(Modality.IMAGE, content=picture())
    return [child for child in children() if child.pid not in own | mine and child.status() != "zombie"]


def test_a_crash_of_the_decoder_costs_an_import_one_file(system: System, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "b.png").write_bytes(png_bomb(10_900, 10_900))
    (tmp_path / "c.png").write_bytes(picture(size=(50, 50)))
    with Decoder(max_children=1) as decoder:
        before = {child.pid for child in children()}
        decode(decoder, picture())
        (child,) = [child for child in children() if child.pid not in before]
        with crash(child):
            report = import_folder(system.ws, "crashed", tmp_path, decoder=decoder)

    assert (report.inserted, report.rejected) == (2, 1)
    (letter,) = dead_letters(system.ws, "crashed")
    assert (letter.uri.rpartition("/")[2], letter.reason) == ("b.png", "MEDIA_UNREADABLE")


@pytest.mark.parametrize(
    "uri",
    [
        "media://media/../secret.png",
        "media://media/%2e%2e/secret.png",
        "media://media/image/../../secret.png",
        "media://media/link.png",
        "media://media//etc/passwd",
        "media://elsewhere/red.png",
        "http://localhost/red.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "media://media/a%00b.png",
    ],
)
def test_a_uri_outside_the_roots_is_denied(system: System, uri: str) -> None:
    secret = system.media.parent / "secret.png"
    secret.write_bytes(picture())
    if not (system.media / "link.png").is_symlink():
        os.symlink(secret, system.media / "link.png")

    failure = system.failure(Modality.IMAGE, uri=uri)

    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "URI_NOT_ALLOWED")


def test_a_uri_under_a_root_is_read(system: System) -> None:
    assert system.find(Modality.IMAGE, uri="media://media/image/blue.png") == "blue.png"


def test_a_uri_to_no_file_is_refused(system: System) -> None:
    failure = system.failure(Modality.IMAGE, uri="media://media/image/gone.png")

    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MEDIA_UNREADABLE")


@pytest.mark.timeout(20)
def test_a_query_by_the_uri_of_a_pipe_is_refused_at_once(system: System) -> None:
    os.mkfifo(system.media / "pipe.png")

    failure = system.failure(Modality.IMAGE, uri="media://media/pipe.png")

    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MEDIA_UNREADABLE")
    assert failure.message == "query.image: expected a file, got a pipe"


@pytest.mark.timeout(20)
def test_a_folder_of_pipes_sockets_devices_and_links_is_imported_without_them(
    system: System, tmp_path: Path
) -> None:
    (tmp_path / "secret.png").write_bytes(picture())
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "good.png").write_bytes(picture())
    for name in ("pipe.png", "pipe.txt", "metadata.csv"):
        os.mkfifo(folder / name)
    with socket.socket(socket.AF_UNIX) as place:
        place.bind(str(folder / "socket.png"))
    for name, target in (("device.png", "/dev/zero"), ("out.png", "../secret.png"), ("loop.png", "loop.png")):
        (folder / name).symlink_to(target)

    report = import_folder(system.ws, "odd", folder, decoder=system.decoder)

    assert (report.inserted, report.rejected) == (1, 0)
    assert report.skipped == {"other formats": 4, "links": 3}


@pytest.mark.timeout(20)
def test_a_file_larger_than_any_may_be_is_set_aside_without_reading_it(
    system: System, tmp_path: Path
) -> None:
    (tmp_path / "good.png").write_bytes(picture())
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 40)

    report = import_folder(system.ws, "huge", tmp_path, decoder=system.decoder)

    assert (report.inserted, report.rejected) == (1, 1)
    assert dead_letters(system.ws, "huge")[-1].reason == "MEDIA_TOO_LARGE"
