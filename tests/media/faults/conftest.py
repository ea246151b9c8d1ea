from collections.abc import Iterator

import grpc
import pytest

from encoders import loading
from encoders.media.decoding import Decoder
from indexer.folder_import import import_folder
from indexer.indexing import index_collection
from retrieval.content import Modality
from retrieval.media_roots import add_media_root
from retrieval.workspace import Workspace
from tests.media.faults.system import SUFFIXES, Refused, System
from tests.media.files import (
    picture,
    sound,
    tone,
    wav,
)
from tests.media.simple_encoders import COLOURS, LOADER, add_encoder
from tests.server.running import run_server


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    root = tmp_path_factory.mktemp("faults")
    media = root / "media"
    for name in ("image", "audio"):
        (media / name).mkdir(parents=True)
    for colour, parts in COLOURS.items():
        content = picture(colour=tuple(255 * part for part in parts))
        (media / "image" / f"{colour}.png").write_bytes(content)
    for hertz in (300, 3000):
        (media / "audio" / f"{hertz}.wav").write_bytes(wav(tone(0.5, hertz=hertz)))
    with pytest.MonkeyPatch.context() as patch, Decoder(max_children=1) as decoder:
        patch.setattr(loading, "LOADERS", {**loading.LOADERS, "colour": LOADER, "pitch": LOADER})
        with Workspace(root / "workspace", create=True) as ws:
            for collection, encoder in (("image", "colour"), ("audio", "pitch")):
                import_folder(ws, collection, media / collection, decoder=decoder)
                add_encoder(ws, encoder)
                index_collection(ws, collection, encoder)
            add_media_root(ws, "media", media)
            for running in run_server(ws):
                yield System(running, media, decoder)


@pytest.fixture(autouse=True)
def next_good_call_succeeds(system: System) -> Iterator[None]:
    yield
    assert system.find(Modality.IMAGE, content=picture(colour=(250, 5, 5))) == "red.png"
    assert system.find(Modality.AUDIO, content=sound(hertz=3000)) == "3000.wav"


@pytest.fixture
def refused(system: System) -> Refused:
    """Check that a file is refused as a query, and set aside by an import."""

    def check(
        content: bytes,
        modality: Modality = Modality.IMAGE,
        reason: str = "MEDIA_UNREADABLE",
        set_aside: bool = True,
    ) -> None:
        if modality != Modality.VIDEO:  # which no encoder here takes
            failure = system.failure(modality, content=content)
            assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        if set_aside:
            assert system.dead_letter(content, SUFFIXES[modality]) == reason

    return check
