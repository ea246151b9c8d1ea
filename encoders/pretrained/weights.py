"""The weights of a pretrained model's folder, as safetensors, whatever they came as."""

import json
import pickle
from pathlib import Path
from typing import Any

from encoders.extras import require
from encoders.pretrained.hub import read_json
from retrieval.errors import UnreadableSource

SINGLE = "model.safetensors"
PARTED = "model.safetensors.index.json"
LEGACY = "pytorch_model.bin"


def weight_files(folder: Path) -> dict[str, bytes | Path]:
    """Return the files of a model's weights by the names under which transformers finds them.

    A `pytorch_model.bin` is read by torch's restricted unpickler, which runs no code, and becomes a
    `model.safetensors`.

    Raises:
        UnreadableSource: if there are no weights, or they are not what their name says.
        MissingExtra: if torch is needed and not installed.
    """
    if folder.joinpath(SINGLE).is_file():
        return {SINGLE: folder / SINGLE}
    if folder.joinpath(PARTED).is_file():
        return {name: folder / name for name in (PARTED, *_parts(folder))}
    return {SINGLE: to_safetensors(read_tensors(folder))}


def read_tensors(folder: Path) -> dict[str, Any]:
    """Read all tensors of a model's folder. Raises as `weight_files` does."""
    require("torch", "hf", f"the model in {folder.name!r}")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    parts = [SINGLE] if folder.joinpath(SINGLE).is_file() else []
    if not parts and folder.joinpath(PARTED).is_file():
        parts = _parts(folder)
    if not parts:
        return read_legacy(folder / LEGACY)
    tensors: dict[str, Any] = {}
    for name in parts:
        try:
            tensors |= load_file(folder / name)
        except (OSError, SafetensorError) as error:
            raise UnreadableSource(f"{name}: expected a file of safetensors") from error
    return tensors


def read_legacy(file: Path) -> dict[str, Any]:
    """Read the tensors of a file that torch pickled, running none of it.

    Raises:
        UnreadableSource: if it is no such file, or holds anything but tensors and plain values.
    """
    import torch

    if not file.is_file():
        raise UnreadableSource(
            f"folder {file.parent.name!r} holds no weights: expected {SINGLE}, {PARTED} or {LEGACY}"
        )
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise UnreadableSource(
            f"{file.name}: expected a file of tensors that torch wrote, and nothing that would have to be run"
        ) from error
    if not isinstance(held, dict):
        raise UnreadableSource(f"{file.name}: expected tensors by name, got {type(held).__name__}")
    return held


def to_safetensors(tensors: dict[str, Any]) -> bytes:
    """Write tensors as safetensors; what else there is, is left out."""
    import torch
    from safetensors.torch import save

    own = {
        str(name): tensor.detach().contiguous().clone()  # cloned, since tensors may share their memory
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor)
    }
    return save(own, metadata={"format": "pt"})


def _parts(folder: Path) -> list[str]:
    named = read_json(folder / PARTED).get("weight_map")
    names = sorted(set(named.values())) if isinstance(named, dict) else []
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise UnreadableSource(f"{PARTED}: expected the names of files beside it")
    missing = [name for name in names if not folder.joinpath(name).is_file()]
    if missing:
        raise UnreadableSource(f"folder {folder.name!r} lacks {missing[0]}, of {len(names)} files of weights")
    return names


def as_json(value: dict[str, Any]) -> bytes:
    """Serialise a config that was changed."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
