"""Small encoders and a small collection that can be learned in a second."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from encoders.encoder import Encoder
from encoders.loading import load_encoder
from encoders.training.config import TwoTowerConfig
from encoders.two_tower.architecture import Architecture
from encoders.two_tower.saving import save_two_tower
from encoders.two_tower.towers import TwoTower
from encoders.two_tower.vocabulary import PADDING, UNKNOWN, Vocabulary
from retrieval.collections import create_collection
from retrieval.content import Content
from retrieval.items import Item, upsert_items
from retrieval.judgements import JudgedQuery, put_judged_queries
from retrieval.workspace import Workspace

ENTRIES = [PADDING, UNKNOWN, "red", "green", "blue", "ship", "##wreck", "harbour", "song", ".", "the", "a"]
torch.set_num_threads(1)  # these matrices are small: a second thread only waits

KINDS = {
    "mlp without hidden layer": {"tower": "mlp", "hidden_dims": 0, "dims": 8},
    "mlp": {"tower": "mlp", "hidden_dims": 16, "dims": 6},
    "mlp, towers apart": {"tower": "mlp", "hidden_dims": 16, "dims": 8, "shared": False},
    "rnn": {"tower": "rnn", "hidden_dims": 5, "layers": 2, "dims": 7, "shared": False},
    "gru": {"tower": "gru", "hidden_dims": 5, "dims": 7},
}
MakeFolder: TypeAlias = Callable[..., Path]


def texts(*values: str) -> list[Content]:
    return [Content(text=value) for value in values]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write a model folder with random weights."""

    def make(kind: str = "mlp", *, max_words: int = 12, seed: int = 0) -> Path:
        torch.manual_seed(seed)
        shape = Architecture(rows=len(ENTRIES), word_dims=8, **KINDS[kind])  # type: ignore[arg-type]
        model = TwoTower(shape).eval()
        torch.nn.init.normal_(model.table)
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        save_two_tower(folder, model, Vocabulary(ENTRIES), name="tiny", version=1, max_words=max_words)
        return folder

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for a model as a hub has it; its weights are the same every time."""
    folder = tmp_path / "hub"
    folder.mkdir()
    torch.manual_seed(0)
    return folder


@pytest.fixture(params=KINDS)
def encoder(request: pytest.FixtureRequest, make_folder: MakeFolder) -> Encoder:
    """Every kind of encoder, loaded from its folder."""
    return load_encoder(make_folder(request.param))


TOPICS = 12
WORDS_PER_TOPIC = 8


def topic_text(topic: int, random: np.random.Generator, length: int) -> str:
    return " ".join(f"w{topic}x{word}" for word in random.integers(0, WORDS_PER_TOPIC, length))


def fill(ws: Workspace, collection: str = "docs") -> None:
    """Store 120 items of 12 topics; a query shares no word with its item, so it has to be learned."""
    random = np.random.default_rng(0)
    create_collection(ws, collection)
    items = [
        Item(f"i{n}", text=f"item {n} " + topic_text(n % TOPICS, random, 12)) for n in range(10 * TOPICS)
    ]
    upsert_items(ws, collection, items)
    splits = ["train", "train", "train", "validation", "test"]
    queries = [
        JudgedQuery(
            f"q{n}",
            f"asked{n % TOPICS} " + topic_text(n % TOPICS, random, 2),
            splits[n // TOPICS % 5],
            {f"i{n}": 1, f"i{(n + 1) % (10 * TOPICS)}": 0},
        )
        for n in range(5 * TOPICS)
    ]
    put_judged_queries(ws, collection, queries)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path / "ws", create=True) as workspace:
        fill(workspace)
        yield workspace


@pytest.fixture
def small() -> Callable[..., TwoTowerConfig]:
    """Configurations that train in less than a second."""

    def make(**changes: object) -> TwoTowerConfig:
        values = {
            "init": "none",
            "dims": 16,
            "corpus_steps": 50,
            "epochs": 2,
            "batch_size": 16,
            "min_word_texts": 1,
        }
        return TwoTowerConfig(**(values | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def static_vectors(tmp_path: Path) -> Path:
    """Static embeddings as they are passed around: safetensors and tokenizer.json."""
    folder = tmp_path / "static"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "ship", "##wreck", "song"]
    table = np.arange(len(words) * 4, dtype=np.float32).reshape(-1, 4)
    save_file({"embeddings": table}, folder / "model.safetensors")
    tokenizer = {"model": {"type": "WordPiece", "vocab": {word: row for row, word in enumerate(words)}}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder
