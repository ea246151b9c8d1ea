"""What a family of pretrained models says about one of them, before it becomes an encoder of ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """An encoder card in the making: what it will say, and the files that the encoder needs."""

    kind: str  # one of `encoders.loading.LOADERS`
    modalities: tuple[str, ...]
    dims: int
    max_words: int  # words of a text that are read; longer items are split; 0 = no limit
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes | Path] = field(default_factory=dict)  # name in the model folder -> content


class Family(Protocol):
    """A module that knows one or several model types of transformers' `config.json`.

    Importing it must be cheap: torch and transformers only inside its functions.
    """

    def describe(self, folder: Path, **options: Any) -> Description:
        """Describe the model of a folder, as its publisher laid it out.

        Args:
            folder: holds config.json, the weights as safetensors, and what preprocessing needs.
            options: what may differ between encoders made of the same model, such as `pooling="mean"`.

        Raises:
            UnreadableSource: if a file is missing or not what its name says.
            InvalidInput: if an option is unknown or out of range.
        """
        ...
