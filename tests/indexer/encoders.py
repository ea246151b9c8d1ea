"""Small real encoders for tests: two-tower models in numpy, written as training writes them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from encoders.artifacts import write_model
from encoders.card import EncoderCard
from encoders.two_tower.architecture import KIND, Architecture
from encoders.two_tower.text_encoder import TENSORS_FILE
from encoders.two_tower.vocabulary import PADDING, UNKNOWN, VOCABULARY_FILE, Vocabulary
from encoders.two_tower.words import SPLITTER
from retrieval.registry import ModelRow, model_folder, next_model_version, register_model
from retrieval.workspace import Workspace


def add_model(
    ws: Workspace,
    words: Sequence[str],
    *,
    name: str = "test",
    table: NDArray[np.float32] | None = None,
    dims: int = 16,
    max_words: int = 0,
    seed: int = 0,
) -> ModelRow:
    """Register an encoder that averages a vector per word; the vectors are random if no table is given."""
    vocabulary = Vocabulary([PADDING, UNKNOWN, *words])
    if table is None:
        table = np.random.default_rng(seed).normal(size=(len(vocabulary), dims)).astype(np.float32)
    shape = Architecture(rows=len(vocabulary), word_dims=table.shape[1], hidden_dims=0, dims=table.shape[1])
    version = next_model_version(ws, name)
    card = EncoderCard(
        kind=KIND,
        name=name,
        version=version,
        modalities=("text",),
        dims=table.shape[1],
        max_words=max_words,
        preprocessing={"splitter": SPLITTER},
        architecture=shape.to_card(),
    )
    tensors = {"both.table": table, "both.bias": np.zeros(table.shape[1], np.float32)}
    files = {TENSORS_FILE: save(tensors), VOCABULARY_FILE: vocabulary.to_bytes()}
    written = write_model(model_folder(ws, name, version), card, files)
    return register_model(ws, name, version, KIND, written.fingerprint, {})
