"""The group *Media* of the fault list, pictures: docs/faults.md says which test is for which row.

What is bad is refused wherever it comes in: as a query of a real server, and as a file of an import.
"""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoders.media.specs import ImageSpec
from retrieval.content import Modality
from tests.encoders.media.decoded import decode, is_grey
from tests.media.faults.system import Refused, System
from tests.media.files import (
    picture,
    png_bomb,
    png_header,
)


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
