"""The text side of encoders that put texts and media into one space."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.extras import require
from encoders.memory import in_batches
from retrieval.content import Content
from retrieval.errors import UnreadableSource

if TYPE_CHECKING:
    from torch import Tensor

TOKENIZER_FILE = "tokenizer.json"
MOST_TEXTS = 64  # together; more are not faster
WORDS_PER_TOKEN = 0.75


class TextSide:
    """Texts in, vectors out. No text is padded: those with equally many tokens go together."""

    def __init__(
        self,
        file: Path,
        *,
        max_tokens: int,
        compute: "Callable[[Tensor], Tensor]",
        device: Any,
        bytes_per_token: int,
    ) -> None:
        """Read a tokenizer.

        Args:
            file: a tokenizer.json, which adds the model's special tokens.
            max_tokens: what the model can read, special tokens and all.
            compute: turns token ids, shape (n, tokens), into vectors, shape (n, dims).
            device: where the ids are wanted.
            bytes_per_token: what a token takes while it is computed, about.

        Raises:
            UnreadableSource: if it is no tokenizer.
            MissingExtra: if tokenizers is not installed.
        """
        self._tokenizer = open_tokenizer(file)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._compute, self._device, self._bytes_per_token = compute, device, bytes_per_token

    def __call__(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode texts: vectors of any length, shape (n, dims)."""
        ids = [np.array(found.ids, np.int64) for found in self._tokens(contents)]
        by_length: dict[int, list[int]] = {}
        for place, tokens in enumerate(ids):
            by_length.setdefault(len(tokens), []).append(place)
        vectors: dict[int, NDArray[np.float32]] = {}
        for length, places in by_length.items():
            memory = length * self._bytes_per_token
            rows = in_batches(self._run, [ids[place] for place in places], bytes_each=memory, most=MOST_TEXTS)
            vectors |= dict(zip(places, rows, strict=True))
        return np.stack([vectors[place] for place in range(len(ids))])

    def truncates(self, content: Content) -> bool:
        """Tell whether only a text's beginning is read."""
        return bool(self._tokens([content])[0].overflowing)

    def ids(self, text: str) -> list[int]:
        """Return a text's token ids, special ones and all."""
        return list(self._tokens([Content(text=text)])[0].ids)

    def _tokens(self, contents: Sequence[Content]) -> list[Any]:
        return list(self._tokenizer.encode_batch([content.text for content in contents]))

    def _run(self, ids: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            out = self._compute(torch.from_numpy(np.stack(ids)).to(self._device))
            return np.asarray(out.float().cpu().numpy())


def open_tokenizer(file: Path) -> Any:
    """Open a tokenizer.json.

    Raises:
        UnreadableSource: if it is none.
        MissingExtra: if tokenizers is not installed.
    """
    require("tokenizers", "hf", file.name)
    from tokenizers import Tokenizer

    if not file.is_file():
        raise UnreadableSource(
            f"folder {file.parent.name!r} lacks {file.name}: save it with transformers' "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises no narrower class
        raise UnreadableSource(f"{file.name}: expected a file of the tokenizers library") from error


def max_words(tokens: int) -> int:
    """Return how many words fit into so many tokens, two of them special; about, on English prose."""
    return max(1, int((tokens - 2) * WORDS_PER_TOKEN))
