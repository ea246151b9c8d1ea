"""Sounds that differ in brightness and in how often they begin, indexed and probed."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from encoders import loading
from encoders.loading import load_encoder
from encoders.probing.meter import TargetMeter
from encoders.probing.probing import probe_collection
from encoders.probing.report import ProbeReport
from encoders.probing.spectrum import SAMPLE_RATE
from indexer.encoding import extract_pending
from indexer.indexing import index_collection
from indexer.progress import ignore_progress
from retrieval.collections import create_collection
from retrieval.content import Modality
from retrieval.items import Item, sequence, upsert_items
from retrieval.media_roots import add_media_root, uri_of
from retrieval.registry import find_model
from retrieval.workspace import Workspace
from tests.encoders.probing.sounds import Sound, times
from tests.probing.band_encoder import KIND, BandEncoder, add_encoder

SECONDS = 2.0
HERTZ = [round(250 * 1.13**step) for step in range(24)]  # of the sounds, dark to bright
COLLECTION = "sounds"


def beats(hertz: float, per_second: float) -> Sound:
    """A tone that is struck and fades, so many times a second."""
    at = times(SECONDS)
    noise = 1e-5 * np.random.default_rng(round(hertz)).standard_normal(len(at))
    struck = np.exp(-8 * (at % (1 / per_second)))
    return (0.5 * struck * np.sin(2 * np.pi * hertz * at) + noise).astype(np.float32)


def name_of(hertz: float) -> str:
    return f"{hertz}.wav"


def rate_of(place: int) -> float:
    """How often the sound of a place is struck a second: it does not go with its brightness."""
    return (1.5, 3.0, 6.0)[place % 3]


def wav(sound: Sound) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, SAMPLE_RATE, format="WAV")
    return file.getvalue()


def add_items(ws: Workspace, folder: Path) -> None:
    """Write the sounds, and store them as items: their `take` is that of the sound beside it."""
    items = []
    for place, hertz in enumerate(HERTZ):
        (folder / name_of(hertz)).write_bytes(wav(beats(hertz, rate_of(place))))
        items.append(
            Item(
                name_of(hertz),
                Modality.AUDIO,
                uri=uri_of("media", Path(name_of(hertz))),
                attributes={"take": place // 2, "bright": place >= 12},
            )
        )
    upsert_items(ws, COLLECTION, items)


def probe_sounds(ws: Workspace) -> ProbeReport:
    encoder = load_encoder(find_model(ws, KIND).folder)
    assert isinstance(encoder, BandEncoder)
    for maker in (TargetMeter(), encoder):
        extract_pending(
            ws, COLLECTION, maker, up_to_key=sequence(ws, COLLECTION), on_progress=ignore_progress
        )
    return probe_collection(ws, COLLECTION, encoder, group_by="take", kinds=["ridge"])


@pytest.fixture(autouse=True)
def known_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LOADERS", {**loading.LOADERS, KIND: "tests.probing.band_encoder"})


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a workspace whose sounds are indexed, and probed once."""
    root = tmp_path_factory.mktemp("sounds")
    (root / "media").mkdir()
    with pytest.MonkeyPatch.context() as patch, Workspace(root / "workspace", create=True) as ws:
        patch.setattr(loading, "LOADERS", {**loading.LOADERS, KIND: "tests.probing.band_encoder"})
        create_collection(ws, COLLECTION)
        add_media_root(ws, "media", root / "media")
        add_items(ws, root / "media")
        add_encoder(ws)
        index_collection(ws, COLLECTION, KIND)
        probe_sounds(ws)
    return root


@pytest.fixture(scope="session")
def shared(made: Path) -> Iterator[Workspace]:
    """That workspace; nobody writes to it."""
    with Workspace(made / "workspace") as ws:
        yield ws


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of it."""
    shutil.copytree(made / "workspace", tmp_path / "workspace")
    with Workspace(tmp_path / "workspace") as ws:
        yield ws
