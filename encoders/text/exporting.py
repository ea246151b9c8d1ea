"""Exporting a text encoder to ONNX Runtime, and checking that it stays the same encoder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard, read_card
from encoders.extras import require
from encoders.text.architecture import KIND, Architecture
from encoders.text.export_record import RECORD_FILE, graph_name, record
from encoders.text.packing import batches
from encoders.text.tokenizing import TOKENIZER_FILE, Tokenizer
from encoders.text.weights import QUERY_WEIGHTS_FILE, WEIGHTS_FILE
from encoders.vectors import unit_rows
from retrieval.durable import write_durably
from retrieval.errors import FailedPrecondition, IncompatibleModel
from retrieval.workspace import translate_sqlite_errors

MIN_COSINE = 0.9999


class ExportDiffers(FailedPrecondition):
    """The exported graph makes other vectors than the encoder."""

    reason = "EXPORT_DIFFERS"


def export_to_onnx(folder: Path, texts: Sequence[str]) -> dict[str, float]:
    """Write graphs for ONNX Runtime beside a text encoder's card, if they give the same vectors as torch.

    The encoder's fingerprint stays, and so do all indexes under it. Exporting again changes nothing.

    Args:
        folder: of the model.
        texts: to compare on, in float32.

    Returns:
        What was measured: "min_cosine" over all texts, "texts".

    Raises:
        ExportDiffers: if a vector's cosine to torch's is below 0.9999; nothing is written then.
        IncompatibleModel: if the model is no text encoder.
        MissingExtra: if torch or ONNX Runtime is not installed.
    """
    card = read_card(folder)
    what = f"exporting {card.name}@{card.version}"
    if card.kind != KIND:
        raise IncompatibleModel(f"{card.name}@{card.version} is of kind {card.kind!r}, not a text encoder")
    require("torch", "train", what)
    require("onnxruntime", "onnx", what)
    shape = Architecture.from_card(card.architecture)
    ids = _token_ids(card, folder, shape, texts)
    digests: dict[str, str] = {}
    worst = 1.0
    written: list[Path] = []
    try:
        for weights in (WEIGHTS_FILE,) if shape.shared else (WEIGHTS_FILE, QUERY_WEIGHTS_FILE):
            graph = folder / graph_name(weights)
            digests[graph.name] = _write_graph(graph, folder / weights, shape)
            written.append(graph)
            worst = min(worst, _least_cosine(graph, folder / weights, shape, ids))
        if not worst >= MIN_COSINE:
            raise ExportDiffers(
                f"{what}: the least cosine to torch is {worst:.6f}, expected {MIN_COSINE}", cosine=worst
            )
    except BaseException:
        for graph in written:
            graph.unlink(missing_ok=True)
        raise
    measured = {"min_cosine": round(worst, 7), "texts": float(len(ids))}
    with translate_sqlite_errors():
        write_durably(folder / RECORD_FILE, record(digests, measured))
    return measured


def _token_ids(
    card: EncoderCard, folder: Path, shape: Architecture, texts: Sequence[str]
) -> list[NDArray[np.int64]]:
    tokenizer = Tokenizer(
        folder / TOKENIZER_FILE, max_tokens=int(card.preprocessing["max_tokens"]), vocabulary=shape.vocabulary
    )
    return tokenizer.ids(
        [f"{card.preprocessing[side]}{text}" for side in ("query_prefix", "item_prefix") for text in texts]
    )


def _write_graph(graph: Path, weights: Path, shape: Architecture) -> str:
    from encoders.text.onnx_graph import build_graph

    content = build_graph(weights, shape)
    with translate_sqlite_errors():
        write_durably(graph, content)
    return hashlib.sha256(content).hexdigest()


def _least_cosine(graph: Path, weights: Path, shape: Architecture, ids: list[NDArray[np.int64]]) -> float:
    from encoders.text.onnx_runtime import OnnxRuntime
    from encoders.text.torch_runtime import TorchRuntime

    least = 1.0
    ours, theirs = OnnxRuntime(graph, shape), TorchRuntime(weights, shape)
    for numbers in batches([len(text) for text in ids]):
        some = [ids[number] for number in numbers]
        cosines = np.einsum("nd,nd->n", unit_rows(ours.run(some)), unit_rows(theirs.run(some)))
        least = min(least, float(cosines.min()))
    return least
