"""What an item or a query holds before it becomes a vector."""

from dataclasses import dataclass
from enum import StrEnum


class Modality(StrEnum):
    """The kinds of content."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class Content:
    """One piece of content: text, or the bytes of a media file."""

    modality: Modality = Modality.TEXT
    text: str = ""
    media: bytes = b""
    mime_type: str = ""
