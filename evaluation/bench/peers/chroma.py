"""Chroma's server, by its HTTP client."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.peers.driver import ATTRIBUTES, Below, Vectors, serve
from evaluation.bench.peers.loopback import HOST, LoopbackServer

BATCH = 2000
NAME = "bench"


class Chroma:
    """A server process; HNSW over cosine, as its documentation shows."""

    knob = "hnsw.ef_search"
    efforts = (10, 20, 40, 60, 80, 100, 150, 200, 300, 400)

    def __init__(self) -> None:
        """Import the library: our own environment, where tests look at this module, does not have it."""
        import chromadb

        self._library = chromadb

    def start(self, folder: Path) -> str:
        """Start `chroma run` on a free port of loopback."""
        self._server = LoopbackServer("chroma", "run", "--path", folder, "--host", HOST, "--port")
        self._client: Any = self._server.connect(
            lambda: self._library.HttpClient(host=HOST, port=self._server.port)
        )
        self._collection = self._client.create_collection(NAME, configuration={"hnsw": {"space": "cosine"}})
        self._effort = 0
        return f"chroma {self._library.__version__}"

    def load(self, vectors: Vectors, attributes: NDArray[np.int64]) -> None:
        """Add in batches; the index is built as they come."""
        for start in range(0, len(vectors), BATCH):
            rows = range(start, min(start + BATCH, len(vectors)))
            self._collection.add(
                ids=[str(row) for row in rows],
                embeddings=vectors[rows.start : rows.stop],
                metadatas=[dict(zip(ATTRIBUTES, map(int, attributes[row]), strict=True)) for row in rows],
            )
        self._collection.query(query_embeddings=vectors[:1], n_results=1, include=[])

    def search(self, vector: Vectors, limit: int, below: Below | None, effort: int) -> Sequence[int]:
        """Query; effort is a setting of the collection, changed when it differs."""
        if effort and effort != self._effort:
            self._collection.modify(configuration={"hnsw": {"ef_search": effort}})
            self._collection = self._client.get_collection(NAME)
            self._effort = effort
        where = {below.attribute: {"$lt": below.value}} if below else None
        found = self._collection.query(
            query_embeddings=vector[None], n_results=limit, where=where, include=[]
        )
        return [int(id) for id in found["ids"][0]]

    def processes(self) -> Sequence[int]:
        """Return the server."""
        return [self._server.pid]

    def cached_mb(self) -> float:
        """Return none: what it holds is its own, or mapped."""
        return 0.0

    def stop(self) -> None:
        """End the server."""
        self._server.stop()


if __name__ == "__main__":
    serve(Chroma())
