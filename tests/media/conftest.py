from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from encoders import loading
from retrieval.collections import create_collection
from retrieval.content import Modality
from retrieval.items import Item, upsert_items
from retrieval.media_roots import add_media_root, uri_of
from retrieval.workspace import Workspace
from tests.media.simple_encoders import COLOURS, LOADER, RATE


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace with the empty collection `c`, and the folder `media` open to uris."""
    monkeypatch.setattr(loading, "LOADERS", {**loading.LOADERS, "colour": LOADER, "pitch": LOADER})
    (tmp_path / "media").mkdir()
    with Workspace(tmp_path / "workspace", create=True) as workspace:
        create_collection(workspace, "c")
        add_media_root(workspace, "media", tmp_path / "media")
        yield workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def pictures(ws: Workspace, folder: Path) -> Path:
    """A picture of each colour, as an item named after it."""
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 20), tuple(255 * part for part in colour)).save(folder / f"{name}.png")
    add(ws, Modality.IMAGE, *(f"{name}.png" for name in COLOURS))
    return folder


def add(ws: Workspace, modality: Modality, *files: str, **attributes: float) -> None:
    """Store files of the folder `media` as items."""
    items = [Item(file, modality, uri=uri_of("media", Path(file)), attributes=attributes) for file in files]
    upsert_items(ws, "c", items)


def write_tones(file: Path, *tones: float, seconds: float = 1.0) -> None:
    """Write a sound that plays tones (Hz) one after the other."""
    times = np.arange(int(seconds * RATE)) / RATE
    soundfile.write(file, np.concatenate([0.5 * np.sin(2 * np.pi * tone * times) for tone in tones]), RATE)
