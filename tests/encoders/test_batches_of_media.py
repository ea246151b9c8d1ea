"""Batches by memory, and models whose files are not what they should be."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

import encoders.device
from encoders.loading import load_encoder
from encoders.memory import EncoderOutOfMemory, in_batches
from encoders.pretrained.adding import add_encoder
from retrieval.errors import CorruptArtifact, IncompatibleModel, MissingExtra, UnreadableSource
from retrieval.registry import model_folder
from retrieval.workspace import Workspace
from tests.encoders.hub_folders import FAMILIES

TRANSFORMERS = [family for family in FAMILIES if family not in ("mobilenet", "mert")]


class Counted:
    """Doubles numbers; runs out of memory with more than `fits` of them."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.sizes: list[int] = []

    def __call__(self, inputs: Sequence[int]) -> NDArray[np.float32]:
        self.sizes.append(len(inputs))
        if len(inputs) > self.fits:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return np.array([[2.0 * number] for number in inputs], np.float32)


def test_batches_are_no_larger_than_is_useful() -> None:
    compute = Counted(fits=100)

    rows = in_batches(compute, range(10), bytes_each=1, most=4)

    assert compute.sizes == [4, 4, 2]
    assert rows[:, 0].tolist() == [2.0 * number for number in range(10)]


def test_a_batch_takes_a_quarter_of_the_free_memory_at_most() -> None:
    compute = Counted(fits=100)

    in_batches(compute, range(4), bytes_each=encoders.device.free_memory(), most=4)

    assert compute.sizes == [1, 1, 1, 1]


def test_what_does_not_fit_is_halved() -> None:
    compute = Counted(fits=2)

    rows = in_batches(compute, range(8), bytes_each=1, most=8)

    assert compute.sizes == [8, 4, 2, 2, 4, 2, 2]
    assert rows[:, 0].tolist() == [2.0 * number for number in range(8)]


def test_one_that_does_not_fit_alone_is_told() -> None:
    with pytest.raises(EncoderOutOfMemory):
        in_batches(Counted(fits=0), range(3), bytes_each=1, most=8)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace", create=True)


def _a_norm(tensors: Iterable[str]) -> str:
    """Return the name of a layer norm's weight that the encoder needs: Whisper's decoder is left behind."""
    return next(name for name in tensors if name.endswith("norm.weight") and "decoder" not in name)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_weights_that_are_missing_are_never_made_up(ws: Workspace, folder: Path, family: str) -> None:
    FAMILIES[family](folder)
    tensors = load_file(folder / "model.safetensors")
    lost = _a_norm(tensors)
    save_file({name: value for name, value in tensors.items() if name != lost}, folder / "model.safetensors")

    with pytest.raises(IncompatibleModel, match="lack 1 weights"):
        add_encoder(ws, "lame", folder)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_weights_of_another_shape_are_refused(ws: Workspace, folder: Path, family: str) -> None:
    FAMILIES[family](folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {_a_norm(tensors): torch.ones(77)}, folder / "model.safetensors")

    with pytest.raises(IncompatibleModel):
        add_encoder(ws, "lame", folder)


@pytest.mark.parametrize("family", ["clip", "mobilenet", "whisper"])
def test_a_flipped_bit_is_found(ws: Workspace, folder: Path, family: str) -> None:
    FAMILIES[family](folder)
    add_encoder(ws, "tiny", folder)
    weights = model_folder(ws, "tiny", 1) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)

    with pytest.raises(CorruptArtifact, match=r"model\.safetensors has sha256"):
        load_encoder(model_folder(ws, "tiny", 1))


@pytest.mark.parametrize("family", ["clip", "clap", "hubert", "mobilenet"])
@pytest.mark.parametrize("name", ["model.safetensors", "preprocessor_config.json"])
def test_a_file_that_is_missing_is_named(ws: Workspace, folder: Path, family: str, name: str) -> None:
    FAMILIES[family](folder)
    (folder / name).unlink()

    with pytest.raises(UnreadableSource, match=name.replace(".", r"\.")):
        add_encoder(ws, "lame", folder)


def test_a_pickle_that_would_run_something_is_not_read(ws: Workspace, folder: Path, tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "it ran",)

    FAMILIES["mert"](folder)
    torch.save({"weights": Canary()}, folder / "pytorch_model.bin")

    with pytest.raises(UnreadableSource, match="nothing that would have to be run"):
        add_encoder(ws, "evil", folder)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("family", ["clip", "hubert", "mobilenet"])
def test_a_library_that_is_missing_is_named(
    ws: Workspace, folder: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FAMILIES[family](folder)
    add_encoder(ws, "tiny", folder)
    monkeypatch.setattr("encoders.extras.find_spec", lambda module: None)

    with pytest.raises(MissingExtra, match="hf"):
        load_encoder(model_folder(ws, "tiny", 1))


def test_parted_weights_are_copied_whole(ws: Workspace, folder: Path) -> None:
    FAMILIES["clip"](folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    parts = {file: {name: tensors[name] for name in half} for file, half in halves.items()}
    for name, part in parts.items():
        save_file(part, folder / name, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, part in parts.items() for key in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    card = add_encoder(ws, "parted", folder)

    assert {"a.safetensors", "b.safetensors", "model.safetensors.index.json"} <= set(card.files)
