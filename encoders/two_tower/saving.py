"""Writing a trained two-tower encoder as files that serve it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from encoders.artifacts import write_model
from encoders.card import EncoderCard
from encoders.two_tower.architecture import KIND, Side
from encoders.two_tower.text_encoder import TENSORS_FILE
from encoders.two_tower.towers import MlpTower, TwoTower
from encoders.two_tower.vocabulary import VOCABULARY_FILE, Vocabulary
from encoders.two_tower.words import SPLITTER
from retrieval.content import Modality

TRAINED_FILE = "trained.safetensors"  # unfolded, to train on from; no vector depends on it


def save_two_tower(
    folder: Path,
    model: TwoTower,
    vocabulary: Vocabulary,
    *,
    name: str,
    version: int,
    max_words: int,
    training_data_digest: str = "",
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> EncoderCard:
    """Write a model folder, its card last, and return the card; no vector depends on files `beside`.

    Raises:
        StorageFull: if the disk is full.
    """
    state = {key: tensor.detach().numpy() for key, tensor in model.state_dict().items()}
    is_mlp = model.shape.tower == "mlp"
    served = folded(model) if is_mlp else _deduplicated(state, model.shape.shared)
    trained = {TRAINED_FILE: save(_deduplicated(state, model.shape.shared))} if is_mlp else {}
    return write_model(
        folder,
        EncoderCard(
            kind=KIND,
            name=name,
            version=version,
            modalities=(Modality.TEXT.value,),
            dims=model.shape.dims,
            max_words=max_words,
            preprocessing={"splitter": SPLITTER},
            architecture=model.shape.to_card(),
            training_data_digest=training_data_digest,
            training=training or {},
            metrics=metrics or {},
        ),
        {TENSORS_FILE: save(served), VOCABULARY_FILE: vocabulary.to_bytes()},
        beside={**(beside or {}), **trained},
    )


@torch.no_grad()
def folded(model: TwoTower) -> dict[str, NDArray[np.float32]]:
    """Multiply the first layer of an mlp into the word table: mean(words) @ W = mean(words @ W)."""
    tensors: dict[str, NDArray[np.float32]] = {}
    sides: dict[str, Side] = {"both": "query"} if model.shape.shared else {"query": "query", "item": "item"}
    for prefix, side in sides.items():
        tower = model.query if side == "query" else model.item
        assert isinstance(tower, MlpTower)
        first, *second = tower.layers
        assert isinstance(first, torch.nn.Linear)
        tensors[f"{prefix}.table"] = (model.table @ first.weight.T).numpy()
        tensors[f"{prefix}.bias"] = first.bias.numpy()
        for layer in second:
            assert isinstance(layer, torch.nn.Linear)
            tensors[f"{prefix}.weight2"] = np.ascontiguousarray(layer.weight.numpy().T)
            tensors[f"{prefix}.bias2"] = layer.bias.numpy()
    return tensors


def _deduplicated(state: dict[str, NDArray[np.float32]], shared: bool) -> dict[str, NDArray[np.float32]]:
    """Leave out the item tower where it is the query tower."""
    return {
        key: np.ascontiguousarray(array)
        for key, array in state.items()
        if not (shared and key.startswith("item."))
    }
