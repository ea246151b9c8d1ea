"""The group *Media* of the fault list, sounds and videos: docs/faults.md says which test is for which row.

What is bad is refused wherever it comes in: as a query of a real server, and as a file of an import.
"""

import numpy as np
import pytest

from retrieval.content import Modality
from tests.media.faults.system import Refused
from tests.media.files import (
    container_sound,
    flac_bomb,
    sound,
    tone,
    video,
    wav,
)


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
