"""Describing models of transformers that put texts and one kind of media into one space."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoders.device import check_precision
from encoders.media.texts import TOKENIZER_FILE, max_words, open_tokenizer
from encoders.pretrained.description import Description
from encoders.pretrained.hub import CONFIG_FILE
from encoders.pretrained.weights import weight_files
from retrieval.content import Modality


def describe_pair(
    folder: Path,
    *,
    kind: str,
    media: Modality,
    dims: int,
    max_tokens: int,
    preprocessing: Mapping[str, Any],
    precision: str,
) -> Description:
    """Describe a model whose texts are read by a tokenizer.json.

    Args:
        folder: with config.json, the weights and tokenizer.json.
        kind: names the loader.
        media: what it encodes besides texts.
        dims: width of the vectors.
        max_tokens: that its text side reads.
        preprocessing: how media are decoded.
        precision: `auto` (bfloat16 where the device computes in it) or `float32`.

    Raises:
        UnreadableSource: if the tokenizer or the weights are missing, or no such files.
        InvalidInput: if there is no such precision.
    """
    check_precision(precision)
    open_tokenizer(folder / TOKENIZER_FILE)
    copied = {name: folder / name for name in (CONFIG_FILE, TOKENIZER_FILE)}
    return Description(
        kind=kind,
        modalities=tuple(sorted(("text", media.value))),
        dims=dims,
        max_words=max_words(max_tokens),
        preprocessing={**preprocessing, "max_tokens": max_tokens, "precision": precision},
        files={**copied, **weight_files(folder)},
    )
