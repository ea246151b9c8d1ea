"""What all engines are given: real vectors and queries, attributes to filter by, and what is nearest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.peers.driver import ATTRIBUTES, Below, Vectors
from evaluation.evaluate import open_system
from evaluation.measurement import encode_queries
from retrieval.errors import InvalidInput
from retrieval.judgements import judged_queries
from retrieval.workspace import Workspace

LIMIT = 10
QUERIES = 200
STEPS = 1000  # of an attribute: 10 of them are 1 %
SAME_COSINE = 1e-6

FILTERS: Mapping[str, Below | None] = {
    "none": None,
    "10 %, random": Below("bucket", 100),
    "1 %, random": Below("bucket", 10),
    "1 %, one region": Below("region", 10),
}


@dataclass(frozen=True, slots=True, eq=False)
class PeerData:
    """Vectors, attributes and queries; unit rows."""

    vectors: Vectors  # shape (n, dims)
    attributes: NDArray[np.int64]  # shape (n, 2), in the order of ATTRIBUTES
    queries: Vectors  # shape (m, dims)
    _tenth: dict[Below | None, NDArray[np.float32]] = field(default_factory=dict)

    def recall(self, found: Sequence[Sequence[int]], below: Below | None) -> float:
        """Return the mean share of the ten nearest matching rows that were found; of equals any will do."""
        tenth = self._tenth_cosines(below)
        matching = self._matching(below)
        shares = []
        for query, rows, least in zip(self.queries, found, tenth, strict=True):
            unique = np.unique(np.asarray(rows, dtype=np.int64))
            good = unique[matching[unique]] if len(unique) else unique
            near = int((self.vectors[good] @ query >= least - SAME_COSINE).sum())
            shares.append(min(near, LIMIT) / min(LIMIT, int(matching.sum())))
        return float(np.mean(shares))

    def _matching(self, below: Below | None) -> NDArray[np.bool_]:
        if below is None:
            return np.ones(len(self.vectors), dtype=np.bool_)
        matching: NDArray[np.bool_] = self.attributes[:, ATTRIBUTES.index(below.attribute)] < below.value
        return matching

    def _tenth_cosines(self, below: Below | None) -> NDArray[np.float32]:
        """Return for each query the cosine of its tenth true neighbour, shape (m,)."""
        if below not in self._tenth:
            rows = self.vectors[self._matching(below)]
            place = max(0, len(rows) - LIMIT)
            self._tenth[below] = np.concatenate(
                [
                    np.partition(part @ rows.T, place, axis=1)[:, place]
                    for part in np.array_split(self.queries, 8)
                ]
            )
        return self._tenth[below]

    def save(self, folder: Path) -> None:
        """Write `vectors.npy`, `attributes.npy` and `queries.npy`."""
        for name in ("vectors", "attributes", "queries"):
            np.save(folder / f"{name}.npy", getattr(self, name))


def make_data(vectors: Vectors, queries: Vectors, *, seed: int = 0) -> PeerData:
    """Give rows a random attribute, and one that rises with the distance from one of them."""
    random = np.random.default_rng(seed)
    count = len(vectors)
    bucket = random.integers(0, STEPS, size=count)
    order = np.argsort(-(vectors @ vectors[int(random.integers(count))]), kind="stable")
    region = np.empty(count, dtype=np.int64)
    region[order] = np.arange(count) * STEPS // count
    return PeerData(vectors, np.column_stack([bucket, region]).astype(np.int64), queries)


def read_data(root: Path, collection: str, size: int) -> PeerData:
    """Take the first vectors of a live index, and its test queries.

    Raises:
        CollectionNotFound, ModelNotLoaded: as `evaluation.evaluate.open_system` raises.
        InvalidInput: if there are no judged queries.
    """
    with Workspace(root) as ws:
        system = open_system(ws, collection)
        queries = judged_queries(ws, collection, "test") or judged_queries(ws, collection)
        if not queries:
            raise InvalidInput(f"collection {collection!r} has no judged queries to search with")
        asked = encode_queries(system.encoder, queries[:QUERIES])
        vectors = system.opened.index.vectors(system.opened.index.keys[:size]).astype(np.float32)
        system.opened.index.close()
    return make_data(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), asked)
