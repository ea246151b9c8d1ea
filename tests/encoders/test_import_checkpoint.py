"""The seed's `.pt` checkpoints, in both layouts of their keys."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from encoders.loading import load_encoder
from encoders.training.importing import import_checkpoint
from retrieval.errors import IncompatibleModel, UnreadableSource
from retrieval.registry import find_model, model_folder
from retrieval.workspace import Workspace
from tests.encoders.conftest import texts

WORDS = {"the": 0, "ship": 1, "song": 2, "Harbour": 3}


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}


def checkpoint(layout: str) -> dict[str, Any]:
    torch.manual_seed(0)
    matrix = torch.randn(4, 6)
    state: dict[str, Tensor] = {}
    for side in ("query", "document"):
        if layout == "mlp":
            layers = nn.ModuleList([nn.Linear(6, 5), nn.Linear(5, 3)])
            state |= prefixed(f"{side}_tower.layers", layers)
        else:
            kind = nn.GRU if layout == "gru" else nn.RNN
            state |= prefixed(f"{side}_rnn", kind(6, 4, 2, batch_first=True, bidirectional=True))
            projection = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Dropout(0.1), nn.Linear(4, 3))
            state |= prefixed(f"{side}_projection", projection)
    if layout == "mlp":
        state["embedding.weight"] = matrix
    return {
        "model_state_dict": state,
        "embedding_matrix": matrix.numpy(),
        "word_to_index": WORDS,
        "index_to_word": {row: word for word, row in WORDS.items()},
        "model_config": {"hidden_dim": 4, "num_layers": 2, "dropout": 0.1},
        "training_stats": {"best_metrics": {"MRR": np.float64(0.38), "evaluation_type": "full_eval"}},
        "epoch": 3,
        "wandb_run_id": "vivid-sweep-1",
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: Any) -> Path:
        file = tmp_path / "two_tower_best.pt"
        torch.save(content, file)
        return file

    return write


@pytest.mark.parametrize("layout", ["mlp", "rnn", "gru"])
def test_a_checkpoint_is_served_through_the_same_encoder(ws: Workspace, write: Any, layout: str) -> None:
    card = import_checkpoint(ws, write(checkpoint(layout)), "seed")
    encoder = load_encoder(model_folder(ws, "seed", 1))

    assert card.architecture["tower"] == layout
    assert encoder.encode_items(texts("the ship", "a song")).shape == (2, 3)
    assert find_model(ws, "seed").fingerprint == card.fingerprint


def test_its_vectors_are_those_of_its_own_tower(ws: Workspace, write: Any) -> None:
    content = checkpoint("mlp")
    import_checkpoint(ws, write(content), "seed")
    state = content["model_state_dict"]
    mean = state["embedding.weight"][[1, 2]].mean(dim=0)
    hidden = (state["document_tower.layers.0.weight"] @ mean + state["document_tower.layers.0.bias"]).relu()
    expected = state["document_tower.layers.1.weight"] @ hidden + state["document_tower.layers.1.bias"]

    found = load_encoder(model_folder(ws, "seed", 1)).encode_items(texts("ship song"))[0]
    np.testing.assert_allclose(found, nn.functional.normalize(expected, dim=0).numpy(), atol=1e-6)


def test_an_unknown_word_is_no_longer_a_real_one(ws: Workspace, write: Any) -> None:
    import_checkpoint(ws, write(checkpoint("mlp")), "seed")
    encoder = load_encoder(model_folder(ws, "seed", 1))
    unknown = encoder.encode_items(texts("xylophone"))

    for word in WORDS:
        assert not np.allclose(encoder.encode_items(texts(word)), unknown)


def test_words_in_capitals_are_found(ws: Workspace, write: Any) -> None:
    import_checkpoint(ws, write(checkpoint("mlp")), "seed")
    encoder = load_encoder(model_folder(ws, "seed", 1))

    known, unknown = encoder.encode_items(texts("harbour", "xylophone"))
    assert not np.allclose(known, unknown)


def test_claimed_metrics_are_kept_apart_from_ours(ws: Workspace, write: Any) -> None:
    card = import_checkpoint(ws, write(checkpoint("rnn")), "seed")

    assert card.training["claimed"] == {"MRR": 0.38}
    assert card.metrics == {}


class Canary:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.file,)


def test_a_checkpoint_never_runs_code(ws: Workspace, write: Any, tmp_path: Path) -> None:
    sung = tmp_path / "sung"
    with pytest.raises(UnreadableSource, match="plain values"):
        import_checkpoint(ws, write(checkpoint("mlp") | {"config": Canary(sung)}), "seed")
    assert not sung.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"word_to_index": {"the": 9}},
        {"word_to_index": {}},
        {"word_to_index": {"the": -1}},
        {"word_to_index": None},
        {"model_state_dict": 7},
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    ws: Workspace, write: Any, change: dict[str, Any]
) -> None:
    with pytest.raises(UnreadableSource):
        import_checkpoint(ws, write(checkpoint("mlp") | change), "seed")
    assert list(ws.models.iterdir()) == []


@pytest.mark.parametrize("layout", ["mlp", "rnn"])
def test_tensors_of_something_else_are_incompatible(ws: Workspace, write: Any, layout: str) -> None:
    content = checkpoint(layout)
    key = next(name for name in content["model_state_dict"] if name.startswith("document"))
    content["model_state_dict"][key] = torch.zeros(2, 2)
    with pytest.raises(IncompatibleModel):
        import_checkpoint(ws, write(content), "seed")
    content["model_state_dict"] = {"resnet.weight": torch.zeros(2, 2)}
    with pytest.raises(IncompatibleModel):
        import_checkpoint(ws, write(content), "seed")


def test_a_truncated_checkpoint_is_refused(ws: Workspace, write: Any) -> None:
    file = write(checkpoint("mlp"))
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UnreadableSource):
        import_checkpoint(ws, file, "seed")
