"""Breaking files, and a pickle that tells when somebody ran it."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from encoders.artifacts import write_model
from encoders.card import EncoderCard
from encoders.two_tower.architecture import KIND, Architecture
from encoders.two_tower.vocabulary import PADDING, UNKNOWN, Vocabulary

Damage: TypeAlias = Callable[[Path], None]

TENSORS, VOCABULARY, CARD = "tower.safetensors", "vocabulary.txt", "card.json"


class Canary:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, nest: Path) -> None:
        self.nest = nest

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.nest),)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def flip_bit(file: Path) -> None:
    """Flip one bit near the end: in a body, where no parser would notice."""
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)


def tiny_encoder(folder: Path, **tensors: NDArray[np.float32]) -> EncoderCard:
    """Write an `mlp` encoder of three words; tensors given replace its own."""
    shape = Architecture(rows=5, word_dims=3, hidden_dims=0, dims=4)
    words = Vocabulary([PADDING, UNKNOWN, "red", "green", "blue"])
    own = {"both.table": np.eye(5, 4, dtype=np.float32), "both.bias": np.ones(4, dtype=np.float32)}
    card = EncoderCard(
        kind=KIND,
        name="tiny",
        version=1,
        modalities=("text",),
        dims=4,
        max_words=8,
        architecture=shape.to_card(),
    )
    return write_model(folder, card, {TENSORS: save(own | tensors), VOCABULARY: words.to_bytes()})


def pickles(nest: Path) -> dict[str, bytes]:
    """Make one canary in every wrapping that some reader unpacks: bare, as a torch file, as an array."""
    torch_file, array = io.BytesIO(), io.BytesIO()
    torch.save({"state": Canary(nest)}, torch_file)
    np.save(array, np.array([Canary(nest)], dtype=object))
    bare = {f"protocol {number}": pickle.dumps(Canary(nest), protocol=number) for number in (0, 2, 5)}
    return bare | {"torch": torch_file.getvalue(), "npy": array.getvalue()}
