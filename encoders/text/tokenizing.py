"""Texts to token ids, by the tokenizer.json that the model was published with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.extras import require
from retrieval.errors import IncompatibleModel

TOKENIZER_FILE = "tokenizer.json"
# A text is cut here before it is tokenised: a hundred times more characters than a token has on average.
_CHARACTERS_PER_TOKEN = 400


class Tokenizer:
    """Cuts texts into tokens and adds the special ones. Threads may share it."""

    def __init__(self, file: Path, *, max_tokens: int, vocabulary: int) -> None:
        """Read a tokenizer.

        Args:
            file: tokenizer.json.
            max_tokens: of a text, special ones and prefix included; what is longer is cut.
            vocabulary: how many tokens the model knows.

        Raises:
            IncompatibleModel: if it is no tokenizer, or not this model's.
            MissingExtra: if the library is not installed.
        """
        require("tokenizers", "onnx", f"reading {file.name}")
        import tokenizers

        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing more specific
            raise IncompatibleModel(f"{file.name} is not a tokenizer") from error
        highest = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest >= vocabulary:
            raise IncompatibleModel(
                f"{file.name} has tokens up to {highest}, the model only {vocabulary} of them"
            )
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._most_characters = max_tokens * _CHARACTERS_PER_TOKEN

    def ids(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return each text's token ids, none of them empty."""
        return [np.array(found.ids or [0], np.int64) for found in self._encode(texts)]

    def truncates(self, texts: Sequence[str]) -> list[bool]:
        """Tell which texts are cut."""
        return [
            bool(found.overflowing) or bool(text[self._most_characters :].strip())
            for text, found in zip(texts, self._encode(texts), strict=True)
        ]

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        found: list[Any] = self._tokenizer.encode_batch([text[: self._most_characters] for text in texts])
        return found
