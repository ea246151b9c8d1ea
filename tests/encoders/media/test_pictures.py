import io

import numpy as np
import pytest
from PIL import Image

from encoders.media.decoding import Decoder
from encoders.media.specs import ImageSpec
from tests.encoders.media.decoded import IMAGE, decode, is_grey
from tests.media.files import picture

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(width: int, height: int) -> Image.Image:
    """Draw a picture whose left half is red, and whose right half is blue."""
    drawn = Image.new("RGB", (width, height), RED)
    drawn.paste(BLUE, (width // 2, 0, width, height))
    return drawn


def test_a_spec_sets_the_shape(decoder: Decoder) -> None:
    pixels = decode(decoder, picture(), ImageSpec(height=5, width=9, fit="squash"))

    assert pixels.shape == (5, 9, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_each_format_is_read(decoder: Decoder, format: str) -> None:
    assert is_grey(decode(decoder, picture(format, "L" if format == "GIF" else "RGB")))


def test_the_bytes_say_what_it_is(decoder: Decoder) -> None:
    assert decoder.facts(picture("WEBP")).mime_type == "image/webp"


def test_the_middle_is_cut_out_of_a_wide_picture(decoder: Decoder) -> None:
    file = picture_of(halves(80, 20))

    pixels = decode(decoder, file, ImageSpec(height=10, width=10))

    assert tuple(pixels[0, 0]) == RED
    assert tuple(pixels[9, 9]) == BLUE


def test_a_squashed_picture_keeps_its_edges(decoder: Decoder) -> None:
    drawn = Image.new("RGB", (80, 20), BLUE)
    drawn.paste(RED, (0, 0, 8, 20))

    pixels = decode(decoder, picture_of(drawn), ImageSpec(height=10, width=10, fit="squash"))

    assert pixels[5, 0, 0] > 200
    assert pixels[5, 9, 2] > 200


def test_resizing_and_cutting_is_as_pillow_does_it(decoder: Decoder) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))

    pixels = decode(decoder, picture_of(noise), ImageSpec(height=16, width=16, short_edge=20))

    expected = noise.resize((30, 20), Image.Resampling.BICUBIC).crop((7, 2, 23, 18))
    assert (pixels == np.asarray(expected)).all()


def test_a_large_jpeg_is_hardly_changed_by_decoding_it_small(decoder: Decoder) -> None:
    y, x = np.mgrid[0:300, 0:400]
    drawn = Image.fromarray(np.stack([x % 256, y % 256, (x + y) // 11], axis=-1).astype(np.uint8))
    file = picture_of(drawn.resize((800, 600)), "JPEG", quality=95)

    small = decode(decoder, file, ImageSpec(height=64, width=64, fit="squash")).astype(int)

    whole = decode(
        decoder, picture_of(Image.open(as_file(file))), ImageSpec(height=64, width=64, fit="squash")
    )
    assert np.abs(small - whole).mean() < 1.5


def test_bilinear_differs_from_bicubic(decoder: Decoder) -> None:
    file = picture_of(halves(31, 31))

    one, other = (
        decode(decoder, file, ImageSpec(height=8, width=8, resample=name)) for name in ("bicubic", "bilinear")
    )

    assert (one != other).any()


def test_facts_tell_size_and_type(decoder: Decoder) -> None:
    facts = decoder.facts(picture("JPEG", size=(40, 30)))

    assert (facts.modality, facts.mime_type, facts.width, facts.height) == ("image", "image/jpeg", 40, 30)


def test_a_thumbnail_is_a_small_webp(decoder: Decoder) -> None:
    with Image.open(as_file(decoder.thumbnail(picture(size=(1000, 500))))) as small:
        assert (small.format, small.size) == ("WEBP", (256, 128))


def test_the_same_picture_gives_the_same_pixels(decoder: Decoder) -> None:
    file = picture("JPEG", size=(200, 150), colour=(10, 200, 30))

    assert (decode(decoder, file, IMAGE) == decode(decoder, file, IMAGE)).all()


def as_file(content: bytes) -> io.BytesIO:
    return io.BytesIO(content)


def picture_of(drawn: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    drawn.save(file, format, **options)
    return file.getvalue()
