"""The texts of contents, for encoders that read nothing else."""

from collections.abc import Sequence

from encoders.card import EncoderCard
from retrieval.content import Content, Modality
from retrieval.errors import ModalityNotServed


def texts_of(card: EncoderCard, contents: Sequence[Content]) -> list[str]:
    """Return the contents' texts.

    Raises:
        ModalityNotServed: if a content is not text.
    """
    for content in contents:
        if content.modality is not Modality.TEXT:
            raise ModalityNotServed(
                f"encoder {card.name}@{card.version} takes text, got {content.modality.value}"
            )
    return [content.text for content in contents]
