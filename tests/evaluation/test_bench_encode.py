"""`bench encode` on a tiny model and a few pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from encoders.pretrained.adding import add_encoder
from evaluation.bench.encode import EncodeBenchOptions, bench_encode
from retrieval.collections import create_collection
from retrieval.content import Modality
from retrieval.errors import InvalidInput
from retrieval.items import Item, upsert_items
from retrieval.media_roots import add_media_root
from retrieval.workspace import Workspace
from tests.encoders.hub_folders import clip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pictures, hub = tmp_path / "pictures", tmp_path / "hub"
    pictures.mkdir()
    hub.mkdir()
    torch.manual_seed(0)
    clip(hub)
    with Workspace(tmp_path / "workspace", create=True) as ws:
        add_encoder(ws, "tiny", hub)
        create_collection(ws, "mixed")
        create_collection(ws, "empty")
        add_media_root(ws, "pictures", pictures)
        items = [Item("text", text="the red ship")]
        for number in range(5):
            pixels = np.random.default_rng(number).integers(0, 256, (48, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(pictures / f"{number}.png")
            items.append(Item(f"p{number}", Modality.IMAGE, uri=f"media://pictures/{number}.png"))
        (pictures / "broken.png").write_bytes(b"no picture")
        items.append(Item("broken", Modality.IMAGE, uri="media://pictures/broken.png"))
        upsert_items(ws, "mixed", items)
    return tmp_path / "workspace"


@pytest.mark.slow
def test_indexing_is_measured_beside_the_bare_model(root: Path) -> None:
    result = bench_encode(root, "mixed", EncodeBenchOptions(encoder="tiny", rounds=1)).to_json()

    assert result["n"] == 6  # the broken one is left out of both
    assert result["encoded_again"] == 0
    assert result["ratios"]["index_over_bare_throughput"] > 0


def test_a_collection_without_anything_to_encode_is_refused(root: Path) -> None:
    with pytest.raises(InvalidInput, match="holds nothing that tiny@1 takes: image and text"):
        bench_encode(root, "empty", EncodeBenchOptions(encoder="tiny"))
