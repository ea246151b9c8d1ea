"""What a media file says of itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """What was found in a media file. What its kind does not have is None."""

    modality: str  # a value of `retrieval.content.Modality`, told from the bytes
    mime_type: str
    width: int | None = None  # pixels, upright
    height: int | None = None
    duration_s: float | None = None
    channels: int | None = None
    sample_rate: int | None = None  # Hz
    frames: int | None = None  # of a video; where its header does not tell, as its rate promises
