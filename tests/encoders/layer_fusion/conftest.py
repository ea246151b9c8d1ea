"""A workspace whose collection has the features of a small frozen model."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import torch

from encoders.artifacts import write_model
from encoders.card import EncoderCard, read_card
from retrieval.collections import create_collection
from retrieval.content import Modality
from retrieval.features import feature_set, put_features
from retrieval.items import Item, upsert_items
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace
from tests.encoders.layer_fusion.small import LAYERS, WIDTH, SmallFrozen, Sound, features_of, sounds

torch.set_num_threads(1)


@pytest.fixture
def backbone_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "frozen"
    card = EncoderCard(
        kind="audio_layers", name="frozen", version=1, modalities=("audio",), dims=WIDTH, max_words=0
    )
    write_model(folder, card, {"model.safetensors": b"frozen weights"})
    return folder


@pytest.fixture
def backbone(backbone_folder: Path) -> SmallFrozen:
    return SmallFrozen(read_card(backbone_folder))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws", create=True)


StoreSounds: TypeAlias = Callable[..., list[Sound]]


@pytest.fixture
def stored(workspace: Workspace) -> StoreSounds:
    """Put sounds and their features into the collection "c"."""

    def store(items: list[Sound] | None = None, seed: int = 0) -> list[Sound]:
        items = sounds() if items is None else items
        create_collection(workspace, "c")
        upsert_items(
            workspace,
            "c",
            [
                Item(one.id, Modality.AUDIO, uri=f"media://m/{one.id}.wav", attributes=one.attributes)
                for one in items
            ],
        )
        keys = [
            key
            for key, _ in pending_segments(
                workspace, "c", "none", limit=len(items), modalities=(Modality.AUDIO,)
            )
        ]
        feature_set(workspace, "frozen", LAYERS, WIDTH)
        put_features(workspace, "frozen", keys, features_of(items, seed))
        return items

    return store
