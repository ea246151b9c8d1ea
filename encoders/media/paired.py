"""Encoders that put texts and one kind of media into one space: CLIP, X-CLIP, CLAP."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.media.sides import Side, encode_by_side
from encoders.media.specs import AudioSpec, DecodeSpec
from encoders.media.texts import TextSide
from retrieval.content import Content, Modality

if TYPE_CHECKING:
    from torch import Tensor


class PairedEncoder:
    """Implements `encoders.encoder.MediaEncoder`. Queries and items are encoded alike."""

    def __init__(
        self, card: EncoderCard, text: TextSide, modality: Modality, spec: DecodeSpec, media: Side
    ) -> None:
        """Join the sides.

        Args:
            card: of the encoder.
            text: encodes texts.
            modality: of the other side.
            spec: how contents of it are decoded.
            media: encodes them.
        """
        self._card, self._text, self._modality, self._spec = card, text, modality, spec
        self._sides: dict[Modality, Side] = {Modality.TEXT: text, modality: media}

    @property
    def card(self) -> EncoderCard:
        """What identifies this encoder version."""
        return self._card

    @property
    def decode_specs(self) -> Mapping[Modality, DecodeSpec]:
        """How the media are decoded, as the model was trained with them."""
        return {self._modality: self._spec}

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode queries, as `Encoder` says."""
        return encode_by_side(self._card, contents, self._sides)

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode items, as `Encoder` says."""
        return encode_by_side(self._card, contents, self._sides)

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell which texts have too many tokens, and which sounds fill all the seconds that are decoded."""
        return [
            self._text.truncates(content) if content.modality is Modality.TEXT else fills(content, self._spec)
            for content in contents
        ]


def fills(content: Content, spec: DecodeSpec) -> bool:
    """Tell whether a sound is as long as any may be, so that more of it may have been cut off."""
    if content.decoded is None or not isinstance(spec, AudioSpec):
        return False
    return len(content.decoded) >= int(spec.max_seconds * spec.sample_rate)


def pooled(out: Any) -> "Tensor":
    """Return the vectors of what `get_..._features` gave: a tensor, or an object that holds it."""
    return out.pooler_output if hasattr(out, "pooler_output") else out  # type: ignore[no-any-return]


def rows(out: Any) -> NDArray[np.float32]:
    """Return the vectors of what `get_..._features` gave as an array, shape (n, dims)."""
    return np.asarray(pooled(out).float().cpu().numpy())


def transformer_bytes(config: Any) -> int:
    """Return about how many bytes a token takes in a transformer of this config."""
    return 4 * (8 * int(config.hidden_size) + 2 * int(config.intermediate_size))
