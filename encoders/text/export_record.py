"""The graph that ONNX Runtime serves a text encoder from, and what was measured when it was made.

It lies beside the card and is not part of the fingerprint: it holds no weights, only how to multiply those
of the card, and gives their vectors to within the recorded tolerance. So an index made by torch is searched
through ONNX Runtime.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from encoders.text.weights import WEIGHTS_FILE
from retrieval.errors import CorruptArtifact

RECORD_FILE = "onnx.json"


def graph_name(weights: str) -> str:
    """Name the graph over a file of weights.

    >>> graph_name("model.safetensors")
    'model.onnx'
    """
    return Path(weights).with_suffix(".onnx").name


def is_exported(folder: Path) -> bool:
    """Tell whether a model folder holds graphs."""
    return folder.joinpath(RECORD_FILE).is_file()


def record(digests: dict[str, str], measured: dict[str, float]) -> bytes:
    """Return what `onnx.json` holds: the digests by file name, and what was measured."""
    return (json.dumps({"sha256": digests, "measured": measured}, indent=1, sort_keys=True) + "\n").encode()


def graph_file(folder: Path, weights: str = WEIGHTS_FILE) -> Path:
    """Return the graph over a file of weights, checked.

    Raises:
        CorruptArtifact: if it is not what was exported.
    """
    name = graph_name(weights)
    try:
        record: dict[str, Any] = json.loads(folder.joinpath(RECORD_FILE).read_text(encoding="utf-8"))
        expected = record["sha256"][name]
        got = hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(
            f"{RECORD_FILE} or {name} is missing or damaged: export the model again"
        ) from error
    if got != expected:
        raise CorruptArtifact(f"{name} is not what was exported: export the model again")
    return folder / name
