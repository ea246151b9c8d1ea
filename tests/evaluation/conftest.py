"""A small searchable workspace: real SQLite, a real encoder of forty words, a real index."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from encoders.artifacts import write_model
from encoders.card import EncoderCard
from encoders.two_tower.architecture import KIND, Architecture
from encoders.two_tower.vocabulary import PADDING, UNKNOWN, Vocabulary
from indexer.indexing import index_collection
from retrieval.collections import create_collection
from retrieval.items import Item, upsert_items
from retrieval.judgements import JudgedQuery, put_judged_queries
from retrieval.registry import register_model
from retrieval.workspace import Workspace

WORDS = [f"{first}{last}" for first in "bdfgklmn" for last in ("ako", "emu", "iro", "ost", "uba")]
COLLECTION = "toys"
ITEMS = 120
DIMS = 32


def write_encoder(ws: Workspace, name: str, *, seed: int, alike: int = 1) -> None:
    """Register an encoder whose word vectors are random; so many words each have the same one."""
    rng = np.random.default_rng(seed)
    words = rng.normal(size=(len(WORDS) // alike, DIMS)).repeat(alike, axis=0)
    table = np.concatenate([np.zeros((2, DIMS)), words]).astype(np.float32)
    shape = Architecture(rows=len(table), word_dims=DIMS, hidden_dims=0, dims=DIMS)
    card = EncoderCard(
        kind=KIND,
        name=name,
        version=1,
        modalities=("text",),
        dims=DIMS,
        max_words=64,
        architecture=shape.to_card(),
    )
    files = {
        "tower.safetensors": save({"both.table": table, "both.bias": np.full(DIMS, 1e-3, np.float32)}),
        "vocabulary.txt": Vocabulary([PADDING, UNKNOWN, *WORDS]).to_bytes(),
    }
    card = write_model(ws.models / name / "1", card, files)
    register_model(ws, name, 1, KIND, card.fingerprint, {})


def fill(ws: Workspace) -> None:
    """Store items of four words each, and queries of three of them, with ten candidates each."""
    rng = random.Random(0)
    create_collection(ws, COLLECTION)
    texts = [rng.sample(WORDS, 4) for _ in range(ITEMS)]
    upsert_items(ws, COLLECTION, [Item(f"t{n}", text=" ".join(words)) for n, words in enumerate(texts)])
    queries = []
    for number in range(40):
        grades = {f"t{other}": 0 for other in rng.sample(range(ITEMS), 9)} | {f"t{number}": 1}
        text = " ".join(rng.sample(texts[number], 3))
        queries.append(JudgedQuery(f"q{number}", text, "test" if number < 30 else "validation", grades))
    put_judged_queries(ws, COLLECTION, queries)


@pytest.fixture(scope="session")
def toys_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; two encoders are indexed, "sharp" is live and "blunt" is not."""
    root = tmp_path_factory.mktemp("toys") / "workspace"
    with Workspace(root, create=True) as ws:
        fill(ws)
        write_encoder(ws, "sharp", seed=1)
        write_encoder(ws, "blunt", seed=1, alike=8)
        index_collection(ws, COLLECTION, "sharp")
        index_collection(ws, COLLECTION, "blunt", promote=False)
    return root


@pytest.fixture
def toys(toys_root: Path) -> Iterator[Workspace]:
    """The workspace, open; tests only read it, but for recorded runs."""
    with Workspace(toys_root) as ws:
        yield ws
