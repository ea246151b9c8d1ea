"""The contract of every vector index."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Filter

Keys: TypeAlias = NDArray[np.int64]  # segment rowids
Vectors: TypeAlias = NDArray[np.float32]  # shape (n, dims)

NO_KEY = -1  # fills the places of a row that has fewer neighbours than the limit


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The nearest keys of each query, best first: both arrays have the shape (n, limit).

    Scores are cosines, rounded so that equal vectors score the same. Rows with fewer neighbours end in
    `NO_KEY`, scored -inf.
    """

    keys: Keys
    scores: NDArray[np.float64]
    plan: str = ""  # how it was searched, for people
    partial: bool = False  # some part of the index did not answer


class Selection(Protocol):
    """The segments that a search is restricted to. A backend takes whichever form serves it best."""

    @property
    def filter(self) -> Filter:
        """The condition as a tree."""
        ...

    @property
    def keys(self) -> Keys:
        """The matching segments' keys, ascending; found on first use, then kept."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do: reported, never guessed."""

    backend: str
    filtered_search: bool
    exact_search: bool
    returns_vectors: bool
    memory_mapped: bool
    gpu: bool


class Index(Protocol):
    """An immutable set of unit vectors, searchable by cosine. Safe to search from several threads.

    A new backend is done when it passes tests/retrieval/test_index_contract.py.
    """

    @property
    def dims(self) -> int:
        """The width of a vector."""
        ...

    @property
    def keys(self) -> Keys:
        """The keys of all vectors, ascending."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this index can do."""
        ...

    def search(
        self,
        queries: Vectors,
        limit: int,
        *,
        selection: Selection | None = None,
        effort: int = 0,
        exact: bool = False,
        allow_partial: bool = False,
    ) -> Neighbors:
        """Find the nearest vectors of each query.

        Args:
            queries: unit rows, shape (n, dims).
            limit: neighbours per query, at least 1.
            selection: only these segments may be found.
            effort: how hard to look (for HNSW, ef); 0 takes what was measured at build.
            exact: compare with every vector, so that recall is 1.
            allow_partial: leave out parts that do not answer, and say so, rather than fail.

        Raises:
            DimensionMismatch: if the queries are of another width.
            FilterNotSupported: if the backend cannot answer the selection.
            BackendUnavailable: if the backend does not answer.
        """
        ...

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors of these keys, in their order, shape (n, dims).

        Raises:
            KeyError: if a key is not in the index.
        """
        ...

    def close(self) -> None:
        """Release what the index holds: memory maps, connections."""
        ...
