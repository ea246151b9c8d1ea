"""Opening a sentence encoder, in ONNX Runtime or in torch."""

import os
from importlib.util import find_spec
from pathlib import Path

from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.extras import require
from encoders.text.architecture import Architecture
from encoders.text.encoder import Runtime, SentenceEncoder
from encoders.text.export_record import graph_file, is_exported
from encoders.text.tokenizing import TOKENIZER_FILE, Tokenizer
from encoders.text.weights import QUERY_WEIGHTS_FILE, WEIGHTS_FILE
from retrieval.errors import IncompatibleModel, InvalidInput

RUNTIME_VARIABLE = "TWINSPIRE_TEXT_RUNTIME"
RUNTIMES = ("auto", "onnx", "torch")


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does.

    ONNX Runtime serves what was exported to it, and torch the rest; `TWINSPIRE_TEXT_RUNTIME` may name one.
    """
    shape = Architecture.from_card(card.architecture)
    if card.dims != shape.width or not {"query_prefix", "item_prefix", "max_tokens"} <= set(
        card.preprocessing
    ):
        raise IncompatibleModel(f"model {card.name}@{card.version}: its card is not that of a text encoder")
    tokenizer = Tokenizer(
        folder / TOKENIZER_FILE,
        max_tokens=int(card.preprocessing["max_tokens"]),
        vocabulary=shape.vocabulary,
    )
    runtime = _open_onnx if _takes_onnx(card, folder) else _open_torch
    items = runtime(card, folder, shape, WEIGHTS_FILE)
    queries = items if shape.shared else runtime(card, folder, shape, QUERY_WEIGHTS_FILE)
    return SentenceEncoder(card, tokenizer, {"query": queries, "item": items})


def _takes_onnx(card: EncoderCard, folder: Path) -> bool:
    wanted = os.environ.get(RUNTIME_VARIABLE, "") or "auto"
    if wanted not in RUNTIMES:
        raise InvalidInput(f"{RUNTIME_VARIABLE}: expected one of {', '.join(RUNTIMES)}, got {wanted!r}")
    if wanted == "onnx" and not is_exported(folder):
        raise IncompatibleModel(
            f"model {card.name}@{card.version} was not exported: run `twinspire encoders export {card.name}`"
        )
    there = find_spec("onnxruntime") is not None
    return wanted == "onnx" or (wanted == "auto" and is_exported(folder) and there)


def _open_onnx(card: EncoderCard, folder: Path, shape: Architecture, weights: str) -> Runtime:
    require("onnxruntime", "onnx", f"model {card.name}@{card.version}")
    from encoders.text.onnx_runtime import OnnxRuntime

    return OnnxRuntime(graph_file(folder, weights), shape, threads=_threads())


def _open_torch(card: EncoderCard, folder: Path, shape: Architecture, weights: str) -> Runtime:
    require("torch", "train", f"model {card.name}@{card.version}")
    from encoders.device import device, dtype
    from encoders.text.torch_runtime import TorchRuntime

    precision = dtype(str(card.preprocessing.get("precision", "auto")))
    return TorchRuntime(folder / weights, shape, device=device(), dtype=precision)


def _threads() -> int:
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdigit() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
