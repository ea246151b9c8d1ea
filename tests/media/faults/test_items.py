"""The group *Media* of the fault list, items stored by uri: docs/faults.md says which test is which."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encoders.media.limits import DEFAULT_LIMITS
from protos.twinspire.v1 import items_pb2
from retrieval.content import Modality
from tests.media.faults.system import System
from tests.media.files import picture
from tests.server.running import unpack


def refusal(system: System, name: str, modality: str = "IMAGE") -> tuple[str, str]:
    """Upsert a file of the root that is refused; return why. A good one beside it is stored and found."""
    (system.media / "good.png").write_bytes(picture(colour=(1, 254, 1)))
    bad, good = (
        items_pb2.Item(id=id, uri=f"media://media/{id}", modality=kind)
        for id, kind in (
            (name, getattr(items_pb2, f"MODALITY_{modality}")),
            ("good.png", items_pb2.MODALITY_IMAGE),
        )
    )

    answer = system.running.upsert(bad, good, collection="image")

    (error,) = answer.errors
    assert error.id == name
    assert str(system.media.parent) not in error.error.message
    assert system.find(Modality.IMAGE, content=picture(colour=(1, 254, 1))) == "good.png"
    (info, *_) = unpack(error.error)
    return getattr(info, "reason", ""), error.error.message


@contextmanager
def special(path: Path, kind: str) -> Iterator[None]:
    """Make what is no file."""
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        place = socket.socket(socket.AF_UNIX)
        place.bind(str(path))
        place.close()
    try:
        yield
    finally:
        path.rmdir() if kind == "a folder" else path.unlink()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a socket"])
def test_an_item_that_is_no_file_is_refused_at_once(system: System, kind: str) -> None:
    with special(system.media / "odd.png", kind):
        assert refusal(system, "odd.png") == ("MEDIA_UNREADABLE", f"uri: expected a file, got {kind}")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/tty"])
def test_an_item_that_leads_to_a_device_is_refused(system: System, device: str) -> None:
    os.symlink(device, system.media / "device.png")
    try:
        reason, _ = refusal(system, "device.png")
    finally:
        (system.media / "device.png").unlink()
    assert reason == "URI_NOT_ALLOWED"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("modality", ["IMAGE", "AUDIO", "VIDEO"])
def test_an_item_of_a_huge_file_is_refused_before_it_is_read(system: System, modality: str) -> None:
    most = DEFAULT_LIMITS.max_bytes(modality.lower())
    with (system.media / "huge.bin").open("wb") as file:
        file.truncate(most + 1)

    reason, message = refusal(system, "huge.bin", modality)

    assert (reason, message) == ("MEDIA_TOO_LARGE", f"uri: expected at most {most} bytes, got {most + 1}")


def test_an_item_of_no_file_is_refused(system: System) -> None:
    reason, message = refusal(system, "gone.png")

    assert reason == "MEDIA_UNREADABLE"
    assert message == "uri: expected a file, got one that is not there, or may not be read"
