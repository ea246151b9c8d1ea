"""The group *Media* of the fault list: docs/faults.md says which test is for which row.

What is bad is refused wherever it comes in: as a query of a real server, and as a file of an import.
"""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from PIL import Image
from psutil import Process

from encoders import loading
from encoders.media.decoding import Decoder
from encoders.media.specs import ImageSpec
from indexer.folder_import import import_folder
from indexer.indexing import index_collection
from protos.twinspire.v1 import content_pb2, search_pb2
from retrieval.content import Modality
from retrieval.dead_letters import dead_letters
from retrieval.media_roots import add_media_root
from retrieval.workspace import Workspace
from tests.encoders.media.decoded import decode, is_grey
from tests.encoders.media.processes import children, crash, end
from tests.media.files import (
    container_sound,
    flac_bomb,
    picture,
    png_bomb,
    png_header,
    sound,
    tone,
    video,
    wav,
)
from tests.media.simple_encoders import COLOURS, LOADER, add_encoder
from tests.server.running import Failure, Running, failure_of, run_server

SUFFIXES = {Modality.IMAGE: ".png", Modality.AUDIO: ".wav", Modality.VIDEO: ".mp4"}
Refused: TypeAlias = Callable[..., None]


@dataclass
class System:
    """A workspace with pictures and tones, and a server of it."""

    running: Running
    media: Path
    decoder: Decoder
    imports: list[Path] = field(default_factory=list)

    @property
    def ws(self) -> Workspace:
        return self.running.ws

    def find(self, modality: Modality, **media: Any) -> str:
        """Search by a file, and return the id of the best hit."""
        query = search_pb2.Query()
        getattr(query, modality.value).CopyFrom(content_pb2.Media(**media))
        return self.running.ids(collection=modality.value, query=query, limit=1)[0]

    def failure(self, modality: Modality, **media: Any) -> Failure:
        """Search by a file that is refused. No path is told, and a metric counts it."""
        with pytest.raises(grpc.RpcError) as caught:
            self.find(modality, **media)
        failure = failure_of(caught.value)
        assert str(self.media.parent) not in failure.message
        assert self.running.metric("twinspire_errors_total", reason=failure.reason) > 0
        return failure

    def dead_letter(self, content: bytes, suffix: str) -> str:
        """Import a folder of a good file and a bad one; return why the bad one was set aside."""
        folder = self.media.parent / f"import-{len(self.imports)}"
        self.imports.append(folder)
        folder.mkdir()
        (folder / "good.png").write_bytes(picture())
        (folder / f"bad{suffix}").write_bytes(content)
        report = import_folder(self.ws, "imported", folder, decoder=self.decoder)
        assert (report.inserted + report.replaced, report.rejected) == (1, 1)
        return dead_letters(self.ws, "imported")[-1].reason


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


@pytest.mark.parametrize("format", ["TIFF", "ICO", "PPM", "AVIF", "JPEG2000", "TGA", "PCX"])
def test_a_picture_format_outside_the_five_is_refused(refused: Refused, format: str) -> None:
    refused(picture(format))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_picture_is_refused(refused: Refused, format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format)
    refused(file.getvalue()[: len(file.getvalue()) * 2 // 3])


@pytest.mark.parametrize("bomb", [png_bomb(), png_header(12_000, 12_000)])
def test_a_pixel_bomb_is_refused_before_decoding(refused: Refused, bomb: bytes) -> None:
    refused(bomb, reason="MEDIA_TOO_LARGE")


@pytest.mark.parametrize("size", [(65_000, 1), (1, 65_000), (40_000, 1_000), (3_000, 30)])
def test_an_extreme_aspect_or_edge_is_refused_before_decoding(
    refused: Refused, size: tuple[int, int]
) -> None:
    refused(png_header(*size), reason="MEDIA_TOO_LARGE")


@pytest.mark.parametrize("size", [(0, 0), (0, 10), (10, 0)])
def test_a_picture_without_pixels_is_refused(refused: Refused, size: tuple[int, int]) -> None:
    refused(png_header(*size))


def test_a_webp_of_a_huge_canvas_is_refused_before_decoding(refused: Refused) -> None:
    canvas = (16_383).to_bytes(3, "little") * 2
    refused(b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas, reason="MEDIA_TOO_LARGE")


GREY = {
    "CMYK": lambda: picture("JPEG", "CMYK"),
    "grey": lambda: picture("PNG", "L"),
    "grey with transparency": lambda: picture("PNG", "LA"),
    "16 bit": lambda: picture("PNG", "I;16"),
    "RGBA": lambda: picture("PNG", "RGBA"),
    "palette": lambda: _saved(_drawn().quantize(16), "PNG"),
    "palette GIF": lambda: _saved(_drawn().quantize(16), "GIF"),
    "palette BMP": lambda: _saved(_drawn().quantize(16), "BMP"),
    "progressive": lambda: picture("JPEG", progressive=True),
    "lossless": lambda: picture("WEBP", lossless=True),
}


def _drawn() -> Image.Image:
    return Image.new("RGB", (32, 24), (128, 128, 128))


def _saved(drawn: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    drawn.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", GREY)
def test_every_colour_mode_is_normalised(system: System, kind: str) -> None:
    assert is_grey(decode(system.decoder, GREY[kind]()))


def test_what_is_transparent_lies_on_white(system: System) -> None:
    clear = picture("PNG", "RGBA", colour=(255, 0, 0, 0))
    keyed = _saved(Image.new("P", (32, 24), 0), "PNG", transparency=0)

    assert (decode(system.decoder, clear) == 255).all()
    assert (decode(system.decoder, keyed) == 255).all()
    assert system.find(Modality.IMAGE, content=clear) == "white.png"


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(system: System, format: str) -> None:
    later = [Image.new("RGB", (32, 24), (255, 255, 255))]
    options = {"lossless": True} if format == "WEBP" else {}
    file = _saved(_drawn(), format, save_all=True, append_images=later, duration=100, **options)

    assert is_grey(decode(system.decoder, file))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_followed(system: System, orientation: int) -> None:
    upright = Image.new("RGB", (40, 20), (0, 0, 255))
    upright.paste((255, 0, 0), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    file = _saved(stored, "JPEG", exif=exif, quality=95)

    pixels = decode(system.decoder, file, ImageSpec(height=20, width=40, fit="squash"))
    facts = system.decoder.facts(file)

    assert np.abs(pixels.astype(int) - np.asarray(upright)).mean() < 12
    assert (facts.width, facts.height) == (40, 20)


def test_damaged_exif_counts_as_none(system: System) -> None:
    file = picture("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\xff\xff")

    assert is_grey(decode(system.decoder, file))


def test_a_sound_without_frames_is_refused(refused: Refused) -> None:
    refused(wav(np.zeros((0, 1), np.float32)), Modality.AUDIO)


def test_a_sample_rate_of_zero_is_refused(refused: Refused) -> None:
    refused(wav(tone(), rate=0), Modality.AUDIO)


def test_no_channels_are_refused(refused: Refused) -> None:
    refused(wav(tone(), channels=0), Modality.AUDIO)


def test_more_than_eight_channels_are_refused(refused: Refused) -> None:
    refused(wav(tone(channels=9), channels=9), Modality.AUDIO, "MEDIA_TOO_LARGE")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(refused: Refused, value: float) -> None:
    samples = tone()
    samples[7] = value
    refused(wav(samples), Modality.AUDIO)


def test_samples_that_are_no_numbers_are_refused_wherever_they_are(refused: Refused) -> None:
    samples = tone(10.0)
    samples[len(samples) // 2] = np.nan
    refused(wav(samples), Modality.AUDIO, set_aside=False)  # an import looks at both ends only


def test_a_flac_bomb_is_refused_before_decoding(refused: Refused) -> None:
    refused(flac_bomb(), Modality.AUDIO, "MEDIA_TOO_LARGE")


@pytest.mark.parametrize("promised", [4 * 16_000 + 1, 1 << 30, 0xFFFF_FFFF])
def test_a_wav_header_that_lies_about_length_is_refused(refused: Refused, promised: int) -> None:
    refused(wav(tone(), promised=promised), Modality.AUDIO)


@pytest.mark.parametrize("frames", [0, 2 * 16_000, (1 << 36) - 1])
def test_a_flac_header_that_lies_about_length_is_refused(refused: Refused, frames: int) -> None:
    file = bytearray(sound("FLAC"))
    told = int.from_bytes(file[18:26], "big")
    file[18:26] = (told >> 36 << 36 | frames).to_bytes(8, "big")
    refused(bytes(file), Modality.AUDIO, "MEDIA_TOO_LARGE" if frames > 1 << 35 else "MEDIA_UNREADABLE")


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "M4A"])
def test_a_truncated_sound_is_refused(refused: Refused, format: str) -> None:
    file = container_sound(seconds=3) if format == "M4A" else sound(format, seconds=3)
    refused(file[: len(file) // 2], Modality.AUDIO)


@pytest.mark.parametrize("format", ["AIFF", "AU", "CAF", "W64"])
def test_a_sound_format_outside_the_listed_is_refused(refused: Refused, format: str) -> None:
    refused(sound(format), Modality.AUDIO)


@pytest.mark.parametrize("format", ["mp4", "matroska"])
def test_a_truncated_video_is_refused(refused: Refused, format: str) -> None:
    file = video(format, seconds=6)
    refused(file[: len(file) // 2], Modality.VIDEO)


def test_a_playlist_opens_nothing(refused: Refused) -> None:
    refused(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", Modality.VIDEO)


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
