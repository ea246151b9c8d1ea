"""A real sentence encoder: all-MiniLM-L6-v2 from the package registry."""

from pathlib import Path

import numpy as np
import pytest

from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder
from encoders.pretrained.exporting import export_encoder
from encoders.text.loading import RUNTIME_VARIABLE
from indexer.assets import minilm
from retrieval.content import Content
from retrieval.registry import find_model
from retrieval.workspace import Workspace

pytestmark = [pytest.mark.assets, pytest.mark.slow]
TEXTS = [
    "who wrote the song about the ship?",
    "The song about the ship was written by a sailor.",
    "Mitochondria supply most of the chemical energy of a cell.",
    "x" * 500,
    "word " * 400,
]


def test_it_means_the_same_in_both_runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workspace(tmp_path / "ws", create=True) as ws:
        card = add_encoder(ws, "minilm", minilm())
        measured = export_encoder(ws, "minilm")
        folder = find_model(ws, "minilm").folder
    contents = [Content(text=text) for text in TEXTS]
    found = {}
    for runtime in ("torch", "onnx"):
        monkeypatch.setenv(RUNTIME_VARIABLE, runtime)
        found[runtime] = load_encoder(folder).encode_items(contents)
    question, answer, other = found["onnx"][:3]

    assert (card.dims, card.max_words) == (384, 181)
    assert measured["min_cosine"] >= 0.9999
    # torch computes in bfloat16 where the CPU does, ONNX Runtime in float32
    assert np.einsum("nd,nd->n", found["torch"], found["onnx"]).min() > 0.9995
    assert question @ answer > 0.5 > 0.2 > question @ other
