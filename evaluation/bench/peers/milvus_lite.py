"""Milvus Lite's own gRPC server, by pymilvus."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.peers.driver import ATTRIBUTES, Below, Vectors, serve
from evaluation.bench.peers.loopback import HOST, LoopbackServer

BATCH = 2000


class MilvusLite:
    """A server process; HNSW over cosine with the parameters that its documentation shows."""

    knob = "ef"
    efforts = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400)

    def __init__(self) -> None:
        """Import the library: our own environment, where tests look at this module, does not have it."""
        import pymilvus

        self._library = pymilvus

    def start(self, folder: Path) -> str:
        """Start `milvus-lite server` on a free port of loopback."""
        self._server = LoopbackServer("milvus-lite", "server", "--data-dir", folder, "--port")
        self._client: Any = self._server.connect(
            lambda: self._library.MilvusClient(uri=f"http://{HOST}:{self._server.port}")
        )
        return f"milvus-lite {version('milvus-lite')}, pymilvus {version('pymilvus')}"

    def load(self, vectors: Vectors, attributes: NDArray[np.int64]) -> None:
        """Insert in batches, flush, build the index, load."""
        schema = self._client.create_schema()
        schema.add_field("id", self._library.DataType.INT64, is_primary=True)
        schema.add_field("vector", self._library.DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        for name in ATTRIBUTES:
            schema.add_field(name, self._library.DataType.INT64)
        self._client.create_collection("c", schema=schema)
        for start in range(0, len(vectors), BATCH):
            rows = range(start, min(start + BATCH, len(vectors)))
            self._client.insert(
                "c",
                [
                    {"id": row, "vector": vectors[row].tolist()}
                    | dict(zip(ATTRIBUTES, map(int, attributes[row]), strict=True))
                    for row in rows
                ],
            )
        self._client.flush("c")
        index = self._client.prepare_index_params()
        index.add_index(
            "vector",
            index_type="HNSW",
            metric_type="COSINE",
            params={"M": 16, "efConstruction": 200},
        )
        self._client.create_index("c", index)
        self._client.load_collection("c")

    def search(self, vector: Vectors, limit: int, below: Below | None, effort: int) -> Sequence[int]:
        """Search with an expression."""
        params: dict[str, Any] = {"metric_type": "COSINE", "params": {"ef": effort} if effort else {}}
        found = self._client.search(
            "c",
            data=[vector.tolist()],
            limit=limit,
            filter=f"{below.attribute} < {below.value}" if below else "",
            search_params=params,
        )
        return [int(hit["id"]) for hit in found[0]]

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
    serve(MilvusLite())
