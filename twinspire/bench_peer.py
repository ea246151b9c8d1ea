"""Twinspire itself among its peers: `twinspire serve` over a workspace of its own, by our client."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from encoders.artifacts import write_model
from encoders.card import EncoderCard
from encoders.two_tower.architecture import KIND, Architecture
from encoders.two_tower.text_encoder import TENSORS_FILE
from encoders.two_tower.vocabulary import PADDING, UNKNOWN, VOCABULARY_FILE, Vocabulary
from encoders.two_tower.words import SPLITTER
from evaluation.bench.peers.driver import ATTRIBUTES, Below, Vectors, serve
from evaluation.bench.processes import ServerProcess, run_command
from retrieval.collections import create_collection
from retrieval.embeddings import encoder_row, put_embeddings
from retrieval.items import Item, upsert_items
from retrieval.registry import model_folder, register_model
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace
from twinspire.client import Client

BATCH = 2000
NAME = "bench"


class Twinspire:
    """A server process with its defaults, over items whose vectors are given."""

    knob = "effort"
    efforts = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400)

    def start(self, folder: Path) -> str:
        """Serve an empty workspace, to know what a server takes without vectors."""
        self._root = folder / "workspace"
        with Workspace(self._root, create=True) as ws:
            create_collection(ws, NAME)
        self._server = ServerProcess(self._root)
        return f"twinspire {version('twinspire')}"

    def load(self, vectors: Vectors, attributes: NDArray[np.int64]) -> None:
        """Store items and vectors, index them as a user does, and serve."""
        with Workspace(self._root) as ws:
            card = _write_encoder(ws, vectors.shape[1])
            encoder_row(ws, card.fingerprint, card.dims)
            for start in range(0, len(vectors), BATCH):
                rows = range(start, min(start + BATCH, len(vectors)))
                upsert_items(
                    ws,
                    NAME,
                    [
                        Item(
                            str(row),
                            text=f"row {row}",
                            attributes=dict(zip(ATTRIBUTES, map(int, attributes[row]), strict=True)),
                        )
                        for row in rows
                    ],
                )
                pending = pending_segments(ws, NAME, card.fingerprint, limit=BATCH)
                put_embeddings(
                    ws, card.fingerprint, [key for key, _ in pending], vectors[rows.start : rows.stop]
                )
        run_command(self._root, "index", NAME, "--encoder", NAME)
        self._server.__exit__(None, None, None)
        self._server = ServerProcess(self._root)
        self._client = Client(self._server.target)

    def search(self, vector: Vectors, limit: int, below: Below | None, effort: int) -> Sequence[int]:
        """Search over gRPC."""
        condition = f"{below.attribute} < {below.value}" if below else None
        found = self._client.search(NAME, vector=vector, limit=limit, filter=condition, effort=effort)
        return [int(hit.id) for hit in found.hits]

    def processes(self) -> Sequence[int]:
        """Return the server."""
        return [self._server.pid]

    def cached_mb(self) -> float:
        """Return none: the index is mapped."""
        return 0.0

    def stop(self) -> None:
        """End the server."""
        self._server.__exit__(None, None, None)


def _write_encoder(ws: Workspace, dims: int) -> EncoderCard:
    """Register an encoder of this width; nothing is ever encoded."""
    table = np.zeros((2, dims), np.float32)
    table[1, 0] = 1.0
    shape = Architecture(rows=2, word_dims=dims, hidden_dims=0, dims=dims)
    tensors = {"both.table": table, "both.bias": np.zeros(dims, np.float32)}
    card = write_model(
        model_folder(ws, NAME, 1),
        EncoderCard(
            kind=KIND,
            name=NAME,
            version=1,
            modalities=("text",),
            dims=dims,
            max_words=0,
            preprocessing={"splitter": SPLITTER},
            architecture=shape.to_card(),
        ),
        {TENSORS_FILE: save(tensors), VOCABULARY_FILE: Vocabulary([PADDING, UNKNOWN]).to_bytes()},
    )
    register_model(ws, NAME, 1, KIND, card.fingerprint, {})
    return card


if __name__ == "__main__":
    serve(Twinspire())
