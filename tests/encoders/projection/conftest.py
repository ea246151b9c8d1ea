"""A collection of pictures with captions, of which a frozen model made vectors that can be learned."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder
from encoders.training.projection import Backbone
from encoders.two_tower.architecture import Architecture
from encoders.two_tower.saving import save_two_tower
from encoders.two_tower.towers import TwoTower
from encoders.two_tower.vocabulary import PADDING, UNKNOWN, Vocabulary
from retrieval.collections import create_collection
from retrieval.content import Modality
from retrieval.embeddings import encoder_row, put_embeddings
from retrieval.items import Item, upsert_items
from retrieval.registry import model_folder
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace
from tests.encoders.hub_folders import clip

torch.set_num_threads(1)

WORDS = [f"w{number}" for number in range(30)]
PAIRS = 120


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws", create=True)


@pytest.fixture
def text(tmp_path: Path) -> Backbone:
    """A two-tower with random word vectors."""
    torch.manual_seed(0)
    entries = [PADDING, UNKNOWN, *WORDS]
    shape = Architecture(
        tower="mlp", rows=len(entries), word_dims=16, hidden_dims=0, layers=1, dims=16, shared=True
    )
    model = TwoTower(shape).eval()
    torch.nn.init.normal_(model.table)
    folder = tmp_path / "words"
    save_two_tower(folder, model, Vocabulary(entries), name="words", version=1, max_words=20)
    return Backbone(load_encoder(folder), folder)


@pytest.fixture
def media(workspace: Workspace, tmp_path: Path) -> Backbone:
    """A tiny CLIP, of which only the pictures' side is used."""
    torch.manual_seed(1)
    folder = tmp_path / "hub"
    folder.mkdir()
    clip(folder)
    card = add_encoder(workspace, "pictures", folder, precision="float32")
    own = model_folder(workspace, card.name, card.version)
    return Backbone(load_encoder(own), own)


def captions(count: int = PAIRS) -> list[str]:
    random = np.random.default_rng(3)
    return [" ".join(random.choice(WORDS, 4, replace=False)) for _ in range(count)]


def pictures_of(told: list[str], text: Backbone, width: int) -> NDArray[np.float32]:
    """Vectors that tell of the captions, with noise."""
    from retrieval.content import Content

    random = np.random.default_rng(4)
    meant = text.encoder.encode_queries([Content(text=caption) for caption in told])
    mixed = meant @ random.standard_normal((meant.shape[1], width))
    mixed += 0.3 * random.standard_normal(mixed.shape)
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)


def store(
    ws: Workspace, media: Backbone, told: list[str], vectors: NDArray[np.float32], **columns: list[str]
) -> None:
    """Put pictures into the collection "c", with captions and the media backbone's vectors."""
    create_collection(ws, "c")
    items = [
        Item(
            f"p{number}",
            Modality.IMAGE,
            caption,
            f"media://m/{number}.png",
            {name: values[number] for name, values in columns.items()},
        )
        for number, caption in enumerate(told)
    ]
    upsert_items(ws, "c", items)
    found = pending_segments(ws, "c", "none", limit=len(items), modalities=(Modality.IMAGE,))
    card = media.encoder.card
    encoder_row(ws, card.fingerprint, card.dims)
    put_embeddings(ws, card.fingerprint, [key for key, _ in found], vectors)


@pytest.fixture
def pairs(workspace: Workspace, media: Backbone, text: Backbone) -> Workspace:
    """The collection "c" with 120 pairs that can be learned."""
    told = captions()
    store(workspace, media, told, pictures_of(told, text, media.encoder.card.dims))
    return workspace
