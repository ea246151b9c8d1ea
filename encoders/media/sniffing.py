"""What a file is, told from its first bytes and never from its name."""

from dataclasses import dataclass

HEAD_BYTES = 64

IMAGE_FORMATS = "JPEG, PNG, WebP, GIF or BMP"
AUDIO_FORMATS = "WAV, FLAC, MP3, Ogg (Vorbis or Opus), M4A or WebM"
VIDEO_FORMATS = "MP4, MOV, WebM or MKV"

# Pictures in the container of MP4.
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_AUDIO_BRANDS = (b"M4A ", b"M4B ", b"M4P ", b"F4A ")


@dataclass(frozen=True, slots=True)
class Kind:
    """A file format."""

    family: str  # "image"; "sound": read by libsndfile; "container": read by FFmpeg, sound or video
    name: str  # as the library that reads it calls it
    mime_type: str


def sniff(head: bytes) -> Kind | None:
    """Tell a file's format from its first HEAD_BYTES bytes; None if it is none that is read.

    >>> sniff(b"\\x89PNG" + bytes(60)).mime_type
    'image/png'
    >>> sniff(b"<svg xmlns='http://www.w3.org/2000/svg'>")
    """
    return _image(head) or _sound(head) or _container(head)


def _image(head: bytes) -> Kind | None:
    if head.startswith(b"\xff\xd8\xff"):
        return Kind("image", "JPEG", "image/jpeg")
    if head.startswith(b"\x89PNG"):
        return Kind("image", "PNG", "image/png")
    if head.startswith((b"GIF87a", b"GIF89a")):
        return Kind("image", "GIF", "image/gif")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind("image", "WEBP", "image/webp")
    if head.startswith(b"BM") and len(head) >= 26:
        return Kind("image", "BMP", "image/bmp")
    return None


def _sound(head: bytes) -> Kind | None:
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return Kind("sound", "WAV", "audio/wav")
    if head.startswith(b"fLaC"):
        return Kind("sound", "FLAC", "audio/flac")
    if head.startswith(b"OggS"):
        return Kind("sound", "OGG", "audio/ogg")
    if head.startswith(b"ID3") or _mp3_frame(head):
        return Kind("sound", "MP3", "audio/mpeg")
    return None


def _mp3_frame(head: bytes) -> bool:
    """Whether an MPEG audio frame starts here: sync, a layer, a bit rate, a sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer != 0 and head[2] >> 4 not in (0, 15) and head[2] >> 2 & 3 != 3


def _container(head: bytes) -> Kind | None:
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return Kind("container", "matroska", "video/webm" if b"webm" in head else "video/x-matroska")
    box, brand = head[4:8], head[8:12]
    if box == b"ftyp" and brand not in _PICTURE_BRANDS:
        if brand in _AUDIO_BRANDS:
            return Kind("container", "mov", "audio/mp4")
        return Kind("container", "mov", "video/quicktime" if brand == b"qt  " else "video/mp4")
    if box in (b"moov", b"mdat", b"wide"):
        return Kind("container", "mov", "video/quicktime")
    return None
