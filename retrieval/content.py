"""What an item or a query holds before it becomes a vector."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from numpy.typing import NDArray


class Modality(StrEnum):
    """The kinds of content."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class Content:
    """One piece of content: text, or a media file, which may have a text (a caption) beside it.

    A media file is given by its bytes or by its uri. Encoders read neither: they read `decoded`.
    """

    modality: Modality = Modality.TEXT
    text: str = ""
    media: bytes = b""
    mime_type: str = ""
    uri: str = ""  # `media://NAME/PATH`, see `retrieval.media_roots`; used where `media` is empty
    span_s: tuple[float, float] | None = None  # the seconds that are meant; None = all of it
    # What was decoded for one encoder: pixels, samples or frames, as its `decode_specs` ask.
    decoded: NDArray[Any] | None = field(default=None, compare=False, repr=False)
