"""How large a media file may be, and what decoding one may cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Caps on what a file claims, checked before it is decoded, and on the process that decodes it."""

    max_image_bytes: int = 256 << 20  # of the file
    max_audio_bytes: int = 4 << 30
    max_video_bytes: int = 16 << 30
    max_image_pixels: int = 120_000_000  # the largest cameras have 108 million
    max_image_edge: int = 32_768
    max_aspect: int = 50  # the long edge by the short one
    max_channels: int = 8
    min_sample_rate: int = 1_000  # Hz
    max_sample_rate: int = 768_000
    # A file that holds more sound than `unpacked_bytes` must not unpack (16 bit) to more than
    # `max_expansion` times its size. Only silence packs so well, or a bomb.
    max_expansion: int = 500
    unpacked_bytes: int = 64 << 20
    max_frame_pixels: int = 36_000_000  # of a video: 8K has 33 million
    max_video_s: float = 24 * 3600.0
    max_frames: int = 1_024  # that are taken out of one video
    memory_bytes: int = 2 << 30  # address space of a decoding process
    cpu_s: int = 120  # processor time of one file
    timeout_s: float = 120.0  # time of one file by the clock; what waits for a processor is given more

    def max_bytes(self, modality: str) -> int:
        """Return how large a file of a modality may be."""
        most = {"image": self.max_image_bytes, "audio": self.max_audio_bytes, "video": self.max_video_bytes}
        return most[modality]


DEFAULT_LIMITS = MediaLimits()
