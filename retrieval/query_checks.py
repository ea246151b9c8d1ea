"""What is wrong with a query, found before it costs anything."""

import math

from retrieval.errors import (
    DimensionMismatch,
    InvalidInput,
    InvalidLimit,
    NonFiniteVector,
    TwinspireError,
    ZeroVector,
)
from retrieval.filter_sql import validate_filter
from retrieval.search import MAX_LIMIT, LinearFusion, RrfFusion, SearchParams, VectorQuery

UNIT_TOLERANCE = 1e-3
MAX_EFFORT = 1 << 14
MAX_OVERSAMPLING = 100.0
MAX_DIVERSE_CANDIDATES = 10_000

_DEFAULT_PARAMS = SearchParams()
_DEFAULT_FUSION = LinearFusion()


def fault_of(query: VectorQuery, dims: int) -> TwinspireError | None:
    """Return what is wrong with a query; None if it can be answered by an index of this width."""
    vector = query.vector
    if vector.shape != (dims,):
        return DimensionMismatch(dims, vector.size)
    squared = float(vector.dot(vector))
    if not -2 * UNIT_TOLERANCE < squared - 1 < 2 * UNIT_TOLERANCE:
        return _length_fault(squared)
    if not 1 <= query.limit <= MAX_LIMIT:
        return InvalidLimit(query.limit, MAX_LIMIT)
    if query.filter is not None:
        try:
            validate_filter(query.filter)
        except TwinspireError as error:
            return error
    return _option_fault(query)


def _length_fault(squared: float) -> TwinspireError:
    if not math.isfinite(squared):
        return NonFiniteVector()
    if squared == 0:
        return ZeroVector()
    return InvalidInput(f"vector: expected length 1, got {squared**0.5:.4f}", field="vector")


def _option_fault(query: VectorQuery) -> TwinspireError | None:
    """Check what most queries leave as it is."""
    params, fusion, diversity = query.params, query.fusion, query.diversity
    ranges: list[tuple[str, float, float, float]] = []
    if params is not _DEFAULT_PARAMS:
        ranges.append(("params.effort", params.effort, 0, MAX_EFFORT))
        ranges.append(("params.oversampling", params.oversampling, 0, MAX_OVERSAMPLING))
    if isinstance(fusion, RrfFusion):
        ranges.append(("hybrid.rrf.k", fusion.k, 0, 1e9))
        ranges.append(("hybrid.rrf.dense_weight", fusion.dense_weight, 0, 1e9))
        ranges.append(("hybrid.rrf.lexical_weight", fusion.lexical_weight, 0, 1e9))
    elif fusion is not _DEFAULT_FUSION and fusion.alpha is not None:
        ranges.append(("hybrid.linear.alpha", fusion.alpha, 0, 1))
    if diversity is not None:
        ranges.append(("diversity.weight", diversity.weight, 0, 1))
        ranges.append(("diversity.candidates", diversity.candidates, 0, MAX_DIVERSE_CANDIDATES))
    for field, got, low, high in ranges:
        if not low <= got <= high:  # NaN is not
            return InvalidInput(f"{field}: expected {low:g} to {high:g}, got {got:g}", field=field)
    if query.score_threshold is not None and math.isnan(query.score_threshold):
        return InvalidInput("score_threshold: expected a number, got NaN", field="score_threshold")
    return None
