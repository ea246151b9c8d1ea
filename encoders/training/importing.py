"""Bringing in the `.pt` checkpoints of the two-tower document search: read without running code."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray, numeric
from torch import Tensor

from encoders.card import EncoderCard
from encoders.two_tower.architecture import KIND, Architecture, TowerKind
from encoders.two_tower.saving import save_two_tower
from encoders.two_tower.towers import TwoTower
from encoders.two_tower.vocabulary import PADDING, UNKNOWN, Vocabulary
from retrieval.errors import IncompatibleModel, UnreadableSource
from retrieval.registry import model_folder, next_model_version, register_model
from retrieval.workspace import Workspace

SEED_MAX_WORDS = 128

# What numpy arrays and numbers in a checkpoint need; NumPy 1 called the same functions by another path.
_ARRAYS: list[Any] = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")),
    multiarray._reconstruct,
    multiarray.scalar,
    getattr(numeric, "_frombuffer"),  # noqa: B009  the stubs do not know it
    (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
]
_NOT_ONE = (
    OSError,
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)
_SIDES = {"query": "query", "item": "document"}  # ours: theirs
_LINEAR = re.compile(r"_tower\.layers\.(0|1)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class _Seed:
    shape: Architecture
    tensors: dict[str, Tensor]
    vocabulary: Vocabulary
    claimed: dict[str, float]


def import_checkpoint(ws: Workspace, file: Path, name: str) -> EncoderCard:
    """Import a checkpoint as a new version of a model.

    Unknown words and padding get rows of their own: there, unknown words were read as some real word and
    padding as the most frequent one. The metrics that it claims are kept as `claimed`, not as ours: they rank
    each query's own passages.

    Raises:
        UnreadableSource: if the file is no checkpoint, or holds anything but tensors and plain values.
        IncompatibleModel: if its tensors are not those of a two-tower.
    """
    seed = _read(file)
    model = TwoTower(seed.shape).eval()
    try:
        model.load_state_dict(seed.tensors)
    except RuntimeError as error:
        raise IncompatibleModel("the checkpoint's tensors are not those of a two-tower") from error
    version = next_model_version(ws, name)
    card = save_two_tower(
        model_folder(ws, name, version),
        model,
        seed.vocabulary,
        name=name,
        version=version,
        max_words=SEED_MAX_WORDS,
        training={"imported_from": file.name, "claimed": seed.claimed},
    )
    register_model(ws, name, version, KIND, card.fingerprint, {})
    return card


def _read(file: Path) -> _Seed:
    try:
        with torch.serialization.safe_globals(_ARRAYS):
            checkpoint = torch.load(file, weights_only=True, map_location="cpu")
        state: dict[str, Tensor] = dict(checkpoint["model_state_dict"])
        words: Mapping[str, int] = checkpoint["word_to_index"]
        matrix = state.pop("embedding.weight", None)
        if matrix is None:
            matrix = torch.as_tensor(checkpoint["embedding_matrix"])
        vocabulary, table = _mended(words, matrix.float())
    except _NOT_ONE as error:
        raise UnreadableSource(
            f"{file.name} is not a two-tower checkpoint of tensors and plain values"
        ) from error
    tensors = {"table": table} | _renamed(state)
    statistics = checkpoint.get("training_stats") or {}
    best = statistics.get("best_metrics") or {}
    claimed = {str(name): float(value) for name, value in best.items() if isinstance(value, int | float)}
    return _Seed(_shape(tensors, len(vocabulary)), tensors, vocabulary, claimed)


def _mended(words: Mapping[str, int], matrix: Tensor) -> tuple[Vocabulary, Tensor]:
    rows: dict[str, int] = {}
    for word, row in sorted(words.items(), key=lambda entry: entry[1]):
        lowered = str(word).lower()
        if lowered and "\n" not in lowered and lowered not in (PADDING.lower(), UNKNOWN.lower()):
            rows.setdefault(lowered, int(row))
    if not rows or max(rows.values()) >= len(matrix) or min(rows.values()) < 0:
        raise ValueError("the words do not fit the word vectors")
    kept = matrix[torch.tensor(list(rows.values()))]
    table = torch.cat([torch.zeros(1, matrix.shape[1]), kept.mean(dim=0, keepdim=True), kept])
    return Vocabulary([PADDING, UNKNOWN, *rows]), table


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate both layouts of their keys to ours."""
    renamed: dict[str, Tensor] = {}
    for ours, theirs in _SIDES.items():
        for key, tensor in state.items():
            if not key.startswith(theirs):
                continue
            rest = key.removeprefix(theirs)
            if _LINEAR.fullmatch(rest):
                renamed[ours + rest.replace("_tower.", ".", 1)] = tensor.float()
            elif rest.startswith("_rnn."):
                renamed[f"{ours}.recurrence.{rest.removeprefix('_rnn.')}"] = tensor.float()
            elif rest.startswith("_projection."):
                renamed[f"{ours}.projection.{rest.removeprefix('_projection.')}"] = tensor.float()
    return renamed


def _shape(tensors: Mapping[str, Tensor], rows: int) -> Architecture:
    """Read the architecture off the tensors: what a checkpoint says of itself is often left out."""
    width = tensors["table"].shape[1]
    try:
        if "query.layers.0.weight" in tensors:
            hidden, dims = len(tensors["query.layers.0.weight"]), len(tensors["query.layers.1.weight"])
            tower: TowerKind = "mlp"
            layers = 1
        else:
            hidden = tensors["query.recurrence.weight_hh_l0"].shape[1]
            gates = len(tensors["query.recurrence.weight_hh_l0"]) // hidden
            kinds: dict[int, TowerKind] = {1: "rnn", 3: "gru"}
            tower = kinds[gates]
            layers = sum(
                re.fullmatch(r"query\.recurrence\.weight_hh_l\d+", key) is not None for key in tensors
            )
            dims = len(tensors["query.projection.3.weight"])
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise IncompatibleModel("the checkpoint's tensors are not those of a two-tower") from error
    return Architecture(
        tower=tower,
        rows=rows,
        word_dims=width,
        hidden_dims=hidden,
        layers=layers,
        dims=dims,
        shared=False,
    )
