"""What encoders of several modalities share: each content goes to the side that knows its modality."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.vectors import unit_rows
from retrieval.content import Content, Modality
from retrieval.errors import ModalityNotServed

Side: TypeAlias = Callable[[Sequence[Content]], NDArray[np.float32]]


def encode_by_side(
    card: EncoderCard, contents: Sequence[Content], sides: Mapping[Modality, Side]
) -> NDArray[np.float32]:
    """Encode contents of any order of modalities, each modality together.

    Args:
        card: of the encoder.
        contents: n of them; n may be 0.
        sides: by modality, what turns contents of it into vectors of any length.

    Returns:
        Unit rows, shape (n, card.dims).

    Raises:
        ModalityNotServed: if there is no side for a content.
        EncoderFault: if a vector comes out with NaN or infinity.
    """
    check_modalities(card, contents, sides)
    vectors = np.empty((len(contents), card.dims), np.float32)
    for modality, encode in sides.items():
        places = [place for place, content in enumerate(contents) if content.modality is modality]
        if places:
            vectors[places] = encode([contents[place] for place in places])
    return unit_rows(vectors)


def check_modalities(
    card: EncoderCard, contents: Sequence[Content], served: Mapping[Modality, object]
) -> None:
    """Refuse contents that no side takes.

    Raises:
        ModalityNotServed: if there is one.
    """
    for content in contents:
        if content.modality not in served:
            raise ModalityNotServed(
                f"encoder {card.name}@{card.version} takes {' and '.join(sorted(served))}, "
                f"got {content.modality.value}"
            )


def decoded(content: Content) -> NDArray[Any]:
    """Return what was decoded of a media content.

    Raises:
        ValueError: if `prepare` was not called: a fault of ours.
    """
    if content.decoded is None:
        raise ValueError(f"this {content.modality.value} was not decoded: call `prepare` before encoding")
    return content.decoded
