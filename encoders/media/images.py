"""Decoding pictures with Pillow. Runs in a decoding process only."""

from io import BytesIO

from PIL import ExifTags, Image

from encoders.media.facts import MediaFacts
from encoders.media.limits import MediaLimits
from encoders.media.source import MediaSource
from encoders.media.specs import ImageSpec
from retrieval.errors import MediaTooLarge, MediaUnreadable

# Our own caps are checked before anything is decoded; Pillow would only warn.
Image.MAX_IMAGE_PIXELS = None

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# By EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (TURNS[5], TURNS[6], TURNS[7], TURNS[8])
# A JPEG is decoded to no less than this many times the size that is wanted: at twice, what resizing
# makes of it can hardly be told from what it makes of the full picture.
DRAFT_FACTOR = 2
THUMBNAIL_EDGE = 256
THUMBNAIL_QUALITY = 80


def decode_image(source: MediaSource, spec: ImageSpec, limits: MediaLimits) -> bytes:
    """Decode a picture: RGB bytes, shape (height, width, 3)."""
    picture = open_image(source, limits)
    short = spec.short_edge or max(spec.height, spec.width)
    picture.draft(None, (DRAFT_FACTOR * short, DRAFT_FACTOR * short))
    return fit_image(rgb_image(picture), spec).tobytes()


def image_facts(source: MediaSource, limits: MediaLimits) -> MediaFacts:
    """Look at a picture; all of it is decoded, in a small size where the format allows it."""
    picture = open_image(source, limits)
    width, height = picture.size
    mime_type = source.kind.mime_type
    picture.draft(None, (1, 1))
    load(picture)
    if turn(picture) in SIDEWAYS:
        width, height = height, width
    return MediaFacts(modality="image", mime_type=mime_type, width=width, height=height)


def open_image(source: MediaSource, limits: MediaLimits) -> Image.Image:
    """Open a picture and check its size. Nothing is decoded yet.

    Raises:
        MediaUnreadable: if the header is damaged, or the picture has no pixels.
        MediaTooLarge: if it has too many, or is too long and narrow.
    """
    source.require("image", ("image",), limits)
    if source.kind.name == "WEBP":  # Pillow makes room for it when it opens it
        check_size(*_webp_size(source), limits)
    try:
        picture = Image.open(source.file, formats=[source.kind.name])
    except MemoryError:
        raise
    except Exception:  # whatever a damaged header makes of it
        raise MediaUnreadable(f"image: the header of this {source.kind.name} is damaged") from None
    check_size(*picture.size, limits)
    return picture


def check_size(width: int, height: int, limits: MediaLimits) -> None:
    """Check a picture's size, as its header tells it.

    Raises:
        MediaUnreadable: if it has no pixels.
        MediaTooLarge: if it has too many, or is too long and narrow.
    """
    if min(width, height) < 1:
        raise MediaUnreadable(f"image: expected pixels, got {width} x {height}")
    if width * height > limits.max_image_pixels:
        raise MediaTooLarge(
            f"image: expected at most {limits.max_image_pixels} pixels, got {width} x {height}"
        )
    long, short = max(width, height), min(width, height)
    if long > limits.max_image_edge:
        raise MediaTooLarge(f"image: expected edges of at most {limits.max_image_edge}, got {long}")
    if long > limits.max_aspect * short:
        raise MediaTooLarge(
            f"image: expected an aspect of at most {limits.max_aspect}:1, got {width} x {height}"
        )


def _webp_size(source: MediaSource) -> tuple[int, int]:
    head = source.file.read(30)
    source.file.seek(0)
    chunk, body = head[12:16], head[20:30]
    if len(body) < 10:
        raise MediaUnreadable("image: the header of this WEBP is damaged")
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def load(picture: Image.Image) -> None:
    """Decode a picture.

    Raises:
        MediaUnreadable: if it is damaged or cut short.
    """
    try:
        picture.load()
    except MemoryError:
        raise
    except Exception:  # plugins raise OSError, SyntaxError, ValueError, struct.error ...
        raise MediaUnreadable("image: the file is damaged or cut short") from None


def turn(picture: Image.Image) -> Image.Transpose | None:
    """Tell what makes a picture upright, from its EXIF orientation; a damaged EXIF counts as none."""
    try:
        return TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # struct.error, SyntaxError, ValueError ...
        return None


def rgb_image(picture: Image.Image) -> Image.Image:
    """Decode and turn into upright RGB, on white; of an animation the first frame.

    Raises:
        MediaUnreadable: if it is damaged or cut short.
    """
    load(picture)
    if (transposition := turn(picture)) is not None:
        picture = picture.transpose(transposition)
    if picture.mode.startswith("I"):  # 16 bits a pixel
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if picture.has_transparency_data:
        clear = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(clear, mask=clear)
        return white
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def fit_image(picture: Image.Image, spec: ImageSpec) -> Image.Image:
    """Resize, and cut the middle out where the spec asks for it."""
    resample = RESAMPLING[spec.resample]
    if spec.fit == "squash":
        return picture.resize((spec.width, spec.height), resample)
    size = cover(*picture.size, spec)
    left, top = (size[0] - spec.width) // 2, (size[1] - spec.height) // 2
    return picture.resize(size, resample).crop((left, top, left + spec.width, top + spec.height))


def cover(width: int, height: int, spec: ImageSpec) -> tuple[int, int]:
    """Return the width and height that make the short edge as long as the spec asks."""
    short = spec.short_edge or max(spec.height, spec.width)
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def thumbnail(picture: Image.Image) -> bytes:
    """Make a small WebP of an RGB picture."""
    picture.thumbnail((THUMBNAIL_EDGE, THUMBNAIL_EDGE))
    file = BytesIO()
    picture.save(file, "WEBP", quality=THUMBNAIL_QUALITY)
    return file.getvalue()


def image_thumbnail(source: MediaSource, limits: MediaLimits) -> bytes:
    """Decode a picture and make a small WebP of it."""
    picture = open_image(source, limits)
    picture.draft(None, (DRAFT_FACTOR * THUMBNAIL_EDGE, DRAFT_FACTOR * THUMBNAIL_EDGE))
    return thumbnail(rgb_image(picture))
