"""Media files made by code: good ones in every format, and bad ones."""

import io
import struct
import zlib
from fractions import Fraction
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

RATE = 16_000


def picture(
    format: str = "PNG",
    mode: str = "RGB",
    size: tuple[int, int] = (32, 24),
    colour: Any = None,
    **options: Any,
) -> bytes:
    """Write a picture of one colour."""
    file = io.BytesIO()
    Image.new(mode, size, _GREY.get(mode, 128) if colour is None else colour).save(file, format, **options)
    return file.getvalue()


_GREY: dict[str, Any] = {
    "RGB": (128, 128, 128),
    "RGBA": (128, 128, 128, 255),
    "CMYK": (0, 0, 0, 127),
    "I;16": 0x8000,
    "LA": (128, 255),
}


def png_header(width: int, height: int) -> bytes:
    """Write a PNG whose pixels are missing: whoever decodes it finds it cut short."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"")


def png_bomb(width: int = 12_000, height: int = 12_000) -> bytes:
    """Write a small PNG of very many black pixels, each a bit."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def slow_png() -> bytes:
    """Write a red picture that takes a second or two to decode: it has very many parts that say nothing."""
    good = picture(colour=(255, 0, 0))
    place = good.index(b"IDAT") - 4
    return good[:place] + _chunk(b"tEXt", b"k\0v") * 1_100_000 + good[place:]


def tone(
    seconds: float = 1.0, rate: int = RATE, channels: int = 1, hertz: float = 440.0
) -> NDArray[np.float32]:
    """Make a tone, shape (samples, channels)."""
    times = np.arange(round(seconds * rate)) / rate
    return np.repeat(0.5 * np.sin(2 * np.pi * hertz * times)[:, None], channels, axis=1).astype(np.float32)


def sound(
    format: str = "WAV",
    subtype: str | None = None,
    seconds: float = 1.0,
    rate: int = RATE,
    channels: int = 1,
    hertz: float = 440.0,
) -> bytes:
    """Write a tone."""
    file = io.BytesIO()
    soundfile.write(file, tone(seconds, rate, channels, hertz), rate, format=format, subtype=subtype)
    return file.getvalue()


def wav(
    samples: NDArray[np.float32], rate: int = RATE, channels: int = 1, promised: int | None = None
) -> bytes:
    """Write a WAV of float samples by hand, so that its header may lie.

    Args:
        samples: shape (samples, channels).
        rate: told in the header.
        channels: told in the header.
        promised: bytes of samples that the header tells; None = the truth.
    """
    body = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    data = struct.pack("<4sI", b"data", len(body) if promised is None else promised) + body
    chunks = b"WAVE" + struct.pack("<4sI", b"fmt ", len(form)) + form + data
    return struct.pack("<4sI", b"RIFF", len(chunks)) + chunks


def flac_bomb(seconds: float = 500, rate: int = 44_100) -> bytes:
    """Write a small FLAC that unpacks to 88 megabytes of silence."""
    file = io.BytesIO()
    silence = np.zeros((10 * rate, 2), np.int16)
    with soundfile.SoundFile(file, "w", rate, 2, format="FLAC", subtype="PCM_16") as bomb:
        for _ in range(round(seconds / 10)):
            bomb.write(silence)
    return file.getvalue()


def container_sound(
    format: str = "ipod", codec: str = "aac", seconds: float = 1.0, rate: int = 48_000
) -> bytes:
    """Write a tone into an M4A (`ipod`) or WebM (`webm`, `libopus`) file."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        _write_tone(container, stream, seconds, rate)
    return file.getvalue()


def _write_tone(container: Any, stream: Any, seconds: float, rate: int) -> None:
    samples = tone(seconds, rate)[:, 0]
    for start in range(0, len(samples), 960):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 960], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode():
        container.mux(packet)


def video(
    format: str = "mp4",
    codec: str = "libx264",
    seconds: float = 4.0,
    size: tuple[int, int] = (64, 48),
    rate: int = 25,
    key_every: int = 20,
    with_sound: bool = False,
) -> bytes:
    """Write a video that goes from black to white."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", key_every
        heard = container.add_stream("aac", rate=RATE, layout="mono") if with_sound else None
        count = round(seconds * rate)
        for number in range(count):
            pixels = np.full((size[1], size[0], 3), 255 * number // max(1, count - 1), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
        if heard is not None:
            _write_tone(container, heard, seconds, RATE)
    return file.getvalue()


def noisy_video(seed: int, seconds: float = 1.0, rate: int = 10) -> bytes:
    """Write a video of random squares, other ones in each second and for each seed."""
    random = np.random.default_rng(seed)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(round(seconds)):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            for _ in range(rate):
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                    container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


def turned_video(quarters: int) -> bytes:
    """Write a video whose left half is black, and whose header says to turn it clockwise."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[:, 32:] = 255
        for _ in range(5):
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    matrix = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][quarters]
    a, b, c, d = (part << 16 for part in matrix)
    body = bytearray(file.getvalue())
    place = body.index(b"tkhd") + 44  # of the matrix in the track's header
    body[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return bytes(body)
