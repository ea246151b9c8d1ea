"""What a search asks and what it answers, once the query is a vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Filter

if TYPE_CHECKING:
    from retrieval.aspect_readings import AspectQuery

MAX_LIMIT = 1000
DEFAULT_LIMIT = 10


class ScoreKind(StrEnum):
    """The unit of `Hit.score`."""

    COSINE = "cosine"
    FUSED = "fused"  # hybrid: a weighted sum, or reciprocal ranks
    EXAMPLES = "examples"  # mean cosine to the positive examples minus that to the negative ones
    ASPECTS = "aspects"  # minus the weighted mean difference, in standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class RrfFusion:
    """Reciprocal rank fusion: sum of weight / (k + rank)."""

    k: float = 60.0
    dense_weight: float = 1.0
    lexical_weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearFusion:
    """alpha * dense + (1 - alpha) * lexical, each scaled to [0, 1] per query; alpha None = learned."""

    alpha: float | None = None


Fusion: TypeAlias = RrfFusion | LinearFusion


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParams:
    """How hard to look."""

    effort: int = 0  # 0 = measured at build
    exact: bool = False
    oversampling: float = 1.0  # candidates per hit asked for
    # Rather than fail, leave out parts of the index that do not answer; None = as the searcher was told.
    allow_partial: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """Maximal marginal relevance: relevance * (1 - weight) - weight * similarity to the hits above."""

    weight: float = 0.3
    candidates: int = 0  # 0 = three times the limit


# Not frozen, though nobody changes them, and so are rows and hits: a frozen value takes six times as long to
# make, and one or ten are made for every query.
@dataclass(slots=True, kw_only=True, eq=False)
class VectorQuery:
    """One query, ready to search: encoded and validated."""

    vector: NDArray[np.float32]  # unit, shape (dims,)
    limit: int = DEFAULT_LIMIT
    filter: Filter | None = None
    score_threshold: float | None = None
    lexical_text: str = ""  # non-empty: a hybrid search with BM25 over this text
    fusion: Fusion = LinearFusion()
    exclude_ids: frozenset[str] = frozenset()  # such as the item that was asked about
    aspects: "AspectQuery | None" = None  # compare these instead of vectors
    params: SearchParams = SearchParams()
    diversity: Diversity | None = None
    moments: int = 1  # of one item, so many parts may be hits
    with_vector: bool = False
    attribute_mask: tuple[str, ...] | None = None  # None = all attributes
    explain: bool = False


@dataclass(slots=True)
class Hit:
    """An item found, with its best segment."""

    id: str
    score: float
    rank: int  # from 1
    modality: str
    text: str  # of the item
    uri: str
    attributes: Mapping[str, Any]
    span: tuple[float, float] | None = None  # characters or seconds; None = the whole item
    vector: NDArray[np.float32] | None = None
    explanation: Mapping[str, Any] | None = None


@dataclass(slots=True, eq=False)
class Row:
    """A living segment with its item, ready to be shown. Shared by all answers that show it."""

    id: str
    modality: str
    text: str  # of the item
    uri: str
    attributes: Mapping[str, Any]
    span: tuple[float, float] | None  # characters or seconds; None = the whole item
    encoded: bytes = b""  # whatever a server makes of it, kept for the next answer


@dataclass(slots=True)
class SearchResult:
    """The answer to one query: rows and scores, best first."""

    rows: Sequence[Row]
    scores: Sequence[float]
    score_kind: ScoreKind
    search_ms: float  # of the batch this query was in
    fetch_ms: float
    partial: bool = False  # some part of the index did not answer
    details: Sequence[Hit] | None = None  # made where more was asked for than the rows hold

    @property
    def hits(self) -> Sequence[Hit]:
        """The hits as objects: a server does without, for ten of them cost more than their bytes."""
        return hits_of(self.rows, self.scores) if self.details is None else self.details


def hits_of(rows: Sequence[Row], scores: Sequence[float]) -> list[Hit]:
    """Make hits, ranked from 1 in the order given."""
    return [
        Hit(row.id, score, rank, row.modality, row.text, row.uri, row.attributes, row.span)
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1)
    ]
