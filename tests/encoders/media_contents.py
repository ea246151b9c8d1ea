"""Random contents, decoded as an encoder asks."""

import numpy as np

from encoders.encoder import MediaEncoder
from encoders.media.specs import AudioSpec, DecodeSpec, ImageSpec
from retrieval.content import Content, Modality


def media(encoder: MediaEncoder, count: int, seed: int = 0) -> list[Content]:
    """Return contents of the encoder's media modality; sounds are of very different lengths."""
    ((modality, spec),) = encoder.decode_specs.items()
    random = np.random.default_rng(seed)
    return [random_content(modality, spec, random) for _ in range(count)]


def random_content(modality: Modality, spec: DecodeSpec, random: np.random.Generator) -> Content:
    if isinstance(spec, AudioSpec):
        samples = random.standard_normal(int(spec.sample_rate * random.uniform(0.02, 7)) + 1) * 0.1
        return Content(modality, decoded=samples.astype(np.float32))
    if isinstance(spec, ImageSpec):
        shape: tuple[int, ...] = (spec.height, spec.width, 3)
    else:
        shape = (spec.frames, spec.image.height, spec.image.width, 3)
    return Content(modality, decoded=random.integers(0, 256, shape, dtype=np.uint8))


def contents(encoder: MediaEncoder) -> list[Content]:
    """Return contents of all the encoder's modalities, mixed."""
    mixed = media(encoder, 5)
    if Modality.TEXT in encoder.card.modalities:
        mixed[2:2] = [Content(text=text) for text in ("the red ship", "a", "a song", "green " * 40)]
    return mixed
