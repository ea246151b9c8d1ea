"""Qdrant Edge, in process: the engine of Qdrant's server without the server."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.peers.driver import ATTRIBUTES, Below, Vectors, serve

BATCH = 2000


class QdrantEdge:
    """A shard with Qdrant's default HNSW and an index on each attribute, as its documentation asks for."""

    knob = "hnsw_ef"
    efforts = (16, 24, 32, 48, 64, 96, 128, 192, 256, 400)

    def __init__(self) -> None:
        """Import the library: our own environment, where tests look at this module, does not have it."""
        import qdrant_edge

        self._library = qdrant_edge

    def start(self, folder: Path) -> str:
        """Make an empty shard when the width is known."""
        self._folder = folder
        return f"qdrant-edge-py {version('qdrant-edge-py')}"

    def load(self, vectors: Vectors, attributes: NDArray[np.int64]) -> None:
        """Upsert in batches, then run the optimisers until nothing is left to do."""
        q = self._library
        config = q.EdgeConfig(vectors=q.EdgeVectorParams(vectors.shape[1], q.Distance.Cosine))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._shard = q.EdgeShard.create(str(self._folder), config)
        for name in ATTRIBUTES:
            self._shard.update(q.UpdateOperation.create_field_index(name, q.PayloadSchemaType.Integer))
        for start in range(0, len(vectors), BATCH):
            rows = range(start, min(start + BATCH, len(vectors)))
            points = [
                q.Point(
                    row,
                    vectors[row].tolist(),
                    dict(zip(ATTRIBUTES, map(int, attributes[row]), strict=True)),
                )
                for row in rows
            ]
            self._shard.update(q.UpdateOperation.upsert_points(points))
        self._shard.optimize()

    def search(self, vector: Vectors, limit: int, below: Below | None, effort: int) -> Sequence[int]:
        """Search the shard."""
        q = self._library
        condition = (
            q.Filter(must=[q.FieldCondition(below.attribute, range=q.RangeFloat(lt=float(below.value)))])
            if below
            else None
        )
        request = q.SearchRequest(
            q.Query.Nearest(vector.tolist()),
            limit,
            filter=condition,
            params=q.SearchParams(hnsw_ef=effort) if effort else None,
        )
        return [int(point.id) for point in self._shard.search(request)]

    def processes(self) -> Sequence[int]:
        """Return this process: there is no other."""
        return [os.getpid()]

    def cached_mb(self) -> float:
        """Return none: what it holds is its own, or mapped."""
        return 0.0

    def stop(self) -> None:
        """Close the shard."""
        if hasattr(self, "_shard"):
            self._shard.close()


if __name__ == "__main__":
    serve(QdrantEdge())
